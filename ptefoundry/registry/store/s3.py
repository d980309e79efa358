"""A store in a bucket of S3 or of a store that is compatible with it.

Conditions make writing safe: `If-None-Match: *` creates, `If-Match` replaces; `probe`
finds out whether the store honours them. A condition that refuses may do so because an
earlier try of the same request succeeded and its answer was lost, so what is there is
compared with what was to be written before anybody hears of a conflict.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

from ptefoundry.errors import (
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
    ObjectTooLargeError,
    StoreError,
)
from ptefoundry.registry.store.interface import Advance, ObjectInfo, Piece
from ptefoundry.registry.store.keys import check_prefix
from ptefoundry.registry.store.receiving import PIECE_BYTES, received
from ptefoundry.registry.store.resuming import BrokenStreamError, Connection, resumed, retried
from ptefoundry.registry.store.s3_bucket import CREATE, MISSING, Bucket
from ptefoundry.registry.store.s3_upload import drop_uploads, upload
from ptefoundry.s3 import error_code

_TRIES = 8
_PAUSE_S = 0.05
_RANGE_REFUSED = frozenset({"416", "InvalidRange"})
#: As If-Match, these are always true, or left out.
_NO_CONDITION = frozenset({"", "*"})
_CHANGED = frozenset({"412", "PreconditionFailed"})


class S3Store:
    """Objects below a prefix of a bucket; see `Store` for the methods."""

    def __init__(self, client: Any, bucket: str, prefix: str, *, cache: Path) -> None:
        """Nothing is asked of the store yet.

        Args:
            client: made by `ptefoundry.s3.connect`.
            bucket: that exists.
            prefix: of all keys; empty, or ends in a slash.
            cache: folder in which uploads under way are remembered.
        """
        self.bucket = Bucket(client, bucket, prefix)
        self._client = client
        self._cache = cache
        self.url, self.can_list = self.bucket.url, True
        self.endpoint: str = client.meta.endpoint_url

    def head(self, key: str) -> ObjectInfo | None:
        """See `Store`."""
        return self.bucket.head(key)

    def read(self, key: str, *, limit: int) -> tuple[bytes, str]:
        """See `Store`."""

        def attempt() -> tuple[bytes, str]:
            with self._opened(key, {}) as answer:
                size = answer["ContentLength"]
                if size > limit:
                    raise ObjectTooLargeError(
                        f"{self.url}{key}: expected at most {limit} bytes, found {size}"
                    )
                data = answer["Body"].read(size)
                if len(data) != size:
                    raise BrokenStreamError(
                        f"{self.url}{key}: expected {size} bytes, received {len(data)}"
                    )
                return data, answer["ETag"]

        return retried(attempt)

    def stream(self, key: str, start: int, end: int) -> AbstractContextManager[Iterator[Piece]]:
        """See `Store`."""

        @contextmanager
        def connect(position: int, version: str) -> Iterator[Connection]:
            condition = {"IfMatch": version} if version else {}
            wanted = {"Range": f"bytes={position}-{end - 1}", **condition}
            with self._opened(key, wanted) as answer:
                found = answer.get("ContentRange", "none")
                if not found.startswith(f"bytes {position}-"):
                    raise StoreError(
                        f"{self.url}{key}: asked for the bytes from {position} on, the store sent "
                        f"the range {found}; it cannot be used without ranges"
                    )
                yield Connection(answer["ETag"], _pieces(answer["Body"], self.url + key))

        if start >= end:
            return self._nothing(key)
        return resumed(connect, start, end, label=self.url + key)

    def create(self, key: str, data: bytes) -> str:
        """See `Store`."""
        for _ in range(_TRIES):
            token = self.bucket.put(key, data, CREATE)
            if token is not None:
                return token
            try:
                return self._same(key, data)
            except ObjectMissingError:
                time.sleep(_PAUSE_S)
        raise self._undecided(key)

    def replace(self, key: str, data: bytes, token: str) -> str:
        """See `Store`."""
        if token in _NO_CONDITION:
            raise ObjectChangedError(f"{self.url}{key}: {token!r} is no token of an object")
        for _ in range(_TRIES):
            new = self.bucket.put(key, data, {"IfMatch": token})
            if new is not None:
                return new
            found = self.head(key)
            if found is None or found.token != token:
                return self._replaced(key, data)
            time.sleep(_PAUSE_S)
        raise self._undecided(key)

    def upload(self, key: str, path: Path, *, sha256: str, advance: Advance) -> None:
        """See `Store`."""
        upload(self.bucket, key, path, sha256=sha256, advance=advance, cache=self._cache)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Store`."""
        bucket = self.bucket
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket.name, Prefix=bucket.prefix + check_prefix(prefix)
        )
        with bucket.explained(prefix):
            found = [
                ObjectInfo(
                    str(entry["Key"]).removeprefix(bucket.prefix),
                    entry["Size"],
                    entry["LastModified"].timestamp(),
                    entry["ETag"],
                )
                for page in pages
                for entry in page.get("Contents", ())
            ]
        # AWS orders by key, SeaweedFS folder by folder, where "a/b" comes before "a-b".
        yield from sorted(found, key=lambda info: info.key)

    def delete(self, key: str) -> None:
        """See `Store`."""
        from botocore.exceptions import ClientError

        with self.bucket.explained(key):
            try:
                self._client.delete_object(**self.bucket.at(key))
            except ClientError as error:
                if error_code(error) not in MISSING:
                    raise

    def drop_unfinished(self, older_than_s: float) -> int:
        """See `Store`."""
        return drop_uploads(self.bucket, older_than_s)

    def _same(self, key: str, data: bytes) -> str:
        """The token of an object that has these bytes."""
        try:
            found, token = self.read(key, limit=len(data))
        except ObjectMissingError:
            raise
        except StoreError as error:
            raise ObjectExistsError(
                f"{self.url}{key}: there is an object of other content"
            ) from error
        if found != data:
            raise ObjectExistsError(f"{self.url}{key}: there is an object of other content")
        return token

    def _replaced(self, key: str, data: bytes) -> str:
        try:
            return self._same(key, data)
        except (ObjectExistsError, ObjectMissingError) as error:
            raise ObjectChangedError(f"{self.url}{key}: it has been changed meanwhile") from error

    def _undecided(self, key: str) -> StoreError:
        return StoreError(
            f"{self.url}{key}: the store refused to write it {_TRIES} times though its condition "
            "held; run again later"
        )

    @contextmanager
    def _nothing(self, key: str) -> Iterator[Iterator[Piece]]:
        if self.head(key) is None:
            raise self._missing(key)
        yield iter(())

    @contextmanager
    def _opened(self, key: str, arguments: dict[str, str]) -> Iterator[dict[str, Any]]:
        """The answer to a GET; its body is closed after the block."""
        from botocore import exceptions as boto

        label = self.url + key
        with self.bucket.explained(key):
            try:
                answer = self._client.get_object(**self.bucket.at(key), **arguments)
                with closing(answer["Body"]):
                    yield answer
            except (boto.HTTPClientError, boto.IncompleteReadError) as error:
                raise BrokenStreamError(
                    f"{label}: the connection failed ({error}); check the network"
                ) from error
            except boto.ClientError as error:
                code = error_code(error)
                if code in MISSING:
                    raise self._missing(key) from error
                if code in _RANGE_REFUSED:
                    raise StoreError(f"{label}: the object is shorter than expected") from error
                if code in _CHANGED:
                    raise StoreError(f"{label}: the object changed while it was read") from error
                raise

    def _missing(self, key: str) -> ObjectMissingError:
        return ObjectMissingError(f"{self.url}{key}: there is no such object")


def _pieces(body: Any, label: str) -> Iterator[Piece]:
    """Pieces of a body, past boto3, which copies them; by it where the body is not a plain one."""
    from botocore.response import StreamingBody

    # A body of another type checks what it hands out.
    plain = type(body) is StreamingBody
    pieces = received(body._raw_stream, label=label) if plain else None
    return body.iter_chunks(PIECE_BYTES) if pieces is None else pieces
