"""`https://host/path/file`: one file from a web server."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ptefoundry.base.sources.cache import downloads, drop_downloads
from ptefoundry.base.sources.partial import Partial
from ptefoundry.base.sources.source import file_name
from ptefoundry.base.sources.wanted import Wanted
from ptefoundry.errors import ConfigError, SourceError

if TYPE_CHECKING:
    import httpx2

_ADVICE = {
    401: "this server wants a login, which is not supported: download the file and use file:",
    403: "access is denied: check the URL (signed ones expire)",
    404: "there is no such file: check the URL",
    407: "the proxy wants a login: set HTTPS_PROXY with one",
    410: "the file has been removed: find its new place",
}


@dataclass(frozen=True)
class HttpSource:
    """A file behind an http or https URL."""

    spec: str
    name: str
    """The file's name, from the end of the URL's path."""

    @property
    def unprotected(self) -> bool:
        """Whether the bytes cross a network where anybody on the way could replace them."""
        parts = urlsplit(self.spec)
        return parts.scheme == "http" and not is_loopback(parts.hostname or "")

    def fetch(self, into: Path, *, wanted: Wanted, root: Path, cache: Path) -> None:  # noqa: ARG002
        """See `Source.fetch`."""
        import httpx2

        from ptefoundry.base.sources.download import Download

        wanted.check_named(self.name, spec=self.spec)
        partial = Partial(downloads(cache, self.spec), self.name)
        with httpx2.Client(follow_redirects=True) as client:
            Download(
                url=self.spec,
                partial=partial,
                label=self.spec,
                client=client,
                check=self._check_status,
            ).run()
        partial.place(into / self.name)

    def forget(self, cache: Path) -> None:
        """See `Source.forget`."""
        drop_downloads(cache, self.spec)

    def _check_status(self, response: "httpx2.Response") -> None:
        if not response.is_success:
            status = response.status_code
            advice = _ADVICE.get(status, "check the URL")
            raise SourceError(
                f"{self.spec}: expected a file, the server answered {status}; {advice}"
            )


def parse_http(spec: str, *, where: str) -> HttpSource:
    """Parse an http or https URL.

    Raises:
        ConfigError: it has no host or file name, or carries a password.
    """
    try:
        parts = urlsplit(spec)
        has_host = bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError as error:
        raise ConfigError(f"{where}: expected a URL, found {spec!r} ({error})") from error
    if not has_host or parts.fragment:
        raise ConfigError(f"{where}: expected https://host/path/file, found {spec!r}")
    if parts.username is not None:
        raise ConfigError(
            f"{where}: found a login inside the URL of {parts.hostname}, where everybody who "
            "reads the file sees it; use a source that keeps its credentials elsewhere (s3:, hf:)"
        )
    name = file_name(unquote(parts.path), spec=spec, where=where)
    return HttpSource(spec, name)


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
