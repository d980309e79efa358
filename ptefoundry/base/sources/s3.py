"""`s3://bucket/key` and `s3://bucket/prefix/`: objects of any S3-compatible store.

Credentials, region and endpoint are boto3's: AWS_* variables, profiles, roles,
AWS_ENDPOINT_URL.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptefoundry.base.sources.cache import downloads, drop_downloads
from ptefoundry.base.sources.partial import Partial
from ptefoundry.base.sources.retry import TransientError, with_retries
from ptefoundry.base.sources.source import file_name
from ptefoundry.base.sources.wanted import Wanted
from ptefoundry.errors import ConfigError, SourceError
from ptefoundry.report import progress
from ptefoundry.s3 import connect, explained

_CHUNK_BYTES = 1 << 18
_CHANGED = frozenset({"PreconditionFailed", "412", "InvalidRange", "416"})


@dataclass(frozen=True)
class S3Source:
    """One object, or the objects below a prefix that ends in a slash."""

    spec: str
    bucket: str
    key: str

    def fetch(self, into: Path, *, wanted: Wanted, root: Path, cache: Path) -> None:  # noqa: ARG002
        """See `Source.fetch`."""
        with explained(self.spec, SourceError):
            client = connect()
            prefix, names = self._choose(client, wanted)
            folder = downloads(cache, self.spec)
            partials = {name: Partial(folder, name) for name in names}
            for name, partial in partials.items():
                _download(client, self.bucket, prefix + name, partial)
        for name, partial in partials.items():
            partial.place(into / name)

    def forget(self, cache: Path) -> None:
        """See `Source.forget`."""
        drop_downloads(cache, self.spec)

    def _choose(self, client: Any, wanted: Wanted) -> tuple[str, tuple[str, ...]]:
        """The prefix, and the names below it that make a wanted key each."""
        if self.key and not self.key.endswith("/"):
            folder, slash, name = self.key.rpartition("/")
            wanted.check_named(name, spec=self.spec)
            return folder + slash, (name,)
        names = list(_list(client, self.bucket, self.key))
        return self.key, wanted.choose(names, spec=self.spec)


def parse_s3(spec: str, *, where: str) -> S3Source:
    """Parse `s3://bucket/key` or `s3://bucket/prefix/`.

    Raises:
        ConfigError: there is no bucket or no key.
    """
    bucket, slash, key = spec.removeprefix("s3://").partition("/")
    if not spec.startswith("s3://") or not bucket or not slash:
        raise ConfigError(
            f"{where}: expected s3://bucket/key or s3://bucket/prefix/, found {spec!r}"
        )
    if key and not key.endswith("/"):
        file_name(key, spec=spec, where=where)
    return S3Source(spec, bucket, key)


def _list(client: Any, bucket: str, prefix: str) -> Iterator[str]:
    """Names below the prefix, without it."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", ()):
            yield str(entry["Key"]).removeprefix(prefix)


def _download(client: Any, bucket: str, key: str, partial: Partial) -> None:
    label = f"s3://{bucket}/{key}"

    def attempt() -> None:
        from botocore import exceptions as boto

        try:
            _attempt(client, bucket, key, partial)
        except (boto.HTTPClientError, boto.IncompleteReadError) as error:
            # boto3 has tried again itself, but only until a body begins.
            raise TransientError(
                f"{label}: the connection failed ({error}); check the network, then run again: "
                "what has arrived is kept"
            ) from error
        except boto.ClientError as error:
            if error.response["Error"]["Code"] not in _CHANGED:
                raise
            partial.discard()
            raise TransientError(f"{label}: the object changed during the download") from error

    with_retries(attempt, position=lambda: partial.size)


def _attempt(client: Any, bucket: str, key: str, partial: Partial) -> None:
    offset, etag = partial.resume_point()
    condition = {"Range": f"bytes={offset}-", "IfMatch": etag} if offset else {}
    answer = client.get_object(Bucket=bucket, Key=key, **condition)
    # A store that ignores Range sends the whole object.
    if not offset or "ContentRange" not in answer:
        offset = 0
        partial.restart(answer["ETag"])
    total = offset + answer["ContentLength"]
    with progress(f"s3://{bucket}/{key}", total) as advance:
        advance(offset)
        chunks = answer["Body"].iter_chunks(_CHUNK_BYTES)
        partial.append(chunks, offset=offset, advance=advance)
    if partial.size != total:
        raise TransientError(f"s3://{bucket}/{key}: expected {total} bytes, got {partial.size}")
