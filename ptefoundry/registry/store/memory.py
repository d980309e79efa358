"""A store in memory, for tests and as the plainest form of what a store does."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.digest import hash_bytes
from ptefoundry.errors import (
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
    ObjectTooLargeError,
    StoreError,
)
from ptefoundry.registry.store.copying import check_digest
from ptefoundry.registry.store.interface import Advance, ObjectInfo
from ptefoundry.registry.store.keys import check_key, check_prefix

_PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class _Object:
    data: bytes
    modified: float
    token: str


class MemoryStore:
    """Objects of this process; see `Store` for the methods."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        """Begin empty.

        Args:
            clock: seconds since 1970.
        """
        self.url, self.can_list = "memory:", True
        self._clock = clock
        self._lock = threading.Lock()
        self._objects: dict[str, _Object] = {}
        self._writes = 0

    def head(self, key: str) -> ObjectInfo | None:
        """See `Store`."""
        found = self._objects.get(check_key(key))
        return _describe(key, found) if found else None

    def read(self, key: str, *, limit: int) -> tuple[bytes, str]:
        """See `Store`."""
        found = self._find(key)
        if len(found.data) > limit:
            raise ObjectTooLargeError(
                f"{self.url}{key}: expected at most {limit} bytes, found {len(found.data)}"
            )
        return found.data, found.token

    @contextmanager
    def stream(self, key: str, start: int, end: int) -> Iterator[Iterator[bytes]]:
        """See `Store`."""
        data = self._find(key).data
        if end > len(data):
            raise StoreError(f"{self.url}{key}: expected {end} bytes, found {len(data)}")
        yield (data[at : min(at + _PIECE_BYTES, end)] for at in range(start, end, _PIECE_BYTES))

    def create(self, key: str, data: bytes) -> str:
        """See `Store`."""
        with self._lock:
            found = self._objects.get(check_key(key))
            if found is None:
                return self._put(key, data)
        if found.data != data:
            raise ObjectExistsError(f"{self.url}{key}: there is an object of other content")
        return found.token

    def replace(self, key: str, data: bytes, token: str) -> str:
        """See `Store`."""
        with self._lock:
            found = self._objects.get(check_key(key))
            if found is None or found.token != token:
                raise ObjectChangedError(f"{self.url}{key}: it has been changed meanwhile")
            return self._put(key, data)

    def upload(self, key: str, path: Path, *, sha256: str, advance: Advance) -> None:
        """See `Store`."""
        check_key(key)
        data = path.read_bytes()
        found = self.head(key)
        if found is None:
            check_digest(path, hash_bytes(data), sha256)
            self.create(key, data)
        elif found.size != len(data):
            raise StoreError(
                f"{self.url}{key}: expected {len(data)} bytes, the store has {found.size}"
            )
        advance(len(data))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Store`."""
        check_prefix(prefix)
        with self._lock:
            found = sorted(item for item in self._objects.items() if item[0].startswith(prefix))
        yield from (_describe(key, value) for key, value in found)

    def delete(self, key: str) -> None:
        """See `Store`."""
        with self._lock:
            self._objects.pop(check_key(key), None)

    def drop_unfinished(self, older_than_s: float) -> int:  # noqa: ARG002
        """Nothing stays unfinished here."""
        return 0

    def _find(self, key: str) -> _Object:
        found = self._objects.get(check_key(key))
        if found is None:
            raise ObjectMissingError(f"{self.url}{key}: there is no such object")
        return found

    def _put(self, key: str, data: bytes) -> str:
        self._writes += 1
        self._objects[key] = _Object(data, self._clock(), str(self._writes))
        return str(self._writes)


def _describe(key: str, found: _Object) -> ObjectInfo:
    return ObjectInfo(key, len(found.data), found.modified, found.token)
