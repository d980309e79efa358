"""From the address of a store to the store."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ptefoundry.base.sources.http import is_loopback
from ptefoundry.errors import ConfigError, StoreError
from ptefoundry.registry.store.file import FileStore
from ptefoundry.registry.store.http import HttpStore
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.store.keys import check_prefix
from ptefoundry.registry.store.s3 import S3Store
from ptefoundry.workspace import cache_folder

_FORMS = "file:folder, s3://bucket/prefix or, to read only, https://host/path"


def open_store(url: str, *, endpoint_url: str | None = None) -> Store:
    """A store by its address; nothing is asked of it yet.

    Args:
        url: `file:folder` or `file:///folder`, `s3://bucket/prefix`, or `https://host/path`,
            which can only be read; `http:` is for this machine alone.
        endpoint_url: of an S3 store other than AWS; else AWS_ENDPOINT_URL or a profile says.

    Raises:
        ConfigError: it is none of these.
    """
    scheme = url.partition(":")[0]
    if endpoint_url is not None and scheme != "s3":
        raise ConfigError(f"{url}: an endpoint URL is for s3://bucket/prefix alone; leave it out")
    if scheme == "file":
        return FileStore(_folder(url))
    if scheme == "s3":
        return _open_s3(url, endpoint_url)
    if scheme in {"http", "https"}:
        return _open_http(url)
    raise ConfigError(f"expected the address of a registry: {_FORMS}; found {url!r}")


def _folder(url: str) -> Path:
    path = url.removeprefix("file:")
    if path.startswith("//"):
        parts = urlsplit(url)
        if parts.netloc not in {"", "localhost"}:
            raise ConfigError(f"expected file:folder or file:///folder, found {url!r}")
        path = unquote(parts.path)
    if not path:
        raise ConfigError(f"expected file:folder or file:///folder, found {url!r}")
    return Path(path).expanduser()


def _open_s3(url: str, endpoint_url: str | None) -> S3Store:
    from botocore.exceptions import BotoCoreError

    from ptefoundry.s3 import connect

    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    prefix = prefix.rstrip("/")
    if not url.startswith("s3://") or not bucket:
        raise ConfigError(f"expected s3://bucket/prefix, found {url!r}")
    try:
        prefix = check_prefix(prefix) + "/" if prefix else ""
    except StoreError as error:
        raise ConfigError(f"{url}: {error}") from error
    try:
        client = connect(endpoint_url=endpoint_url)
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"{url}: boto3 cannot be set up ({error}); check AWS_* and ~/.aws") from (
            error
        )
    return S3Store(client, bucket, prefix, cache=cache_folder() / "uploads")


def _open_http(url: str) -> HttpStore:
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError as error:
        raise ConfigError(f"expected https://host/path, found {url!r} ({error})") from error
    if not has_host or parts.query or parts.fragment:
        raise ConfigError(f"expected https://host/path without ? and #, found {url!r}")
    if parts.username is not None:
        raise ConfigError(
            f"found a login inside the URL of {parts.hostname}, where everybody who reads it sees "
            "it; a registry over https is open to all who can reach it"
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ConfigError(f"{url}: http is for this machine alone; use https")
    return HttpStore(url.rstrip("/") + "/")
