"""What is remembered of an upload by parts, so that a killed one goes on.

One file per upload: its first line names the upload, each further one a part that the
store has confirmed. A line that was cut off is as if it had never been written.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptefoundry.errors import StoreError


@dataclass(frozen=True)
class Upload:
    """An upload that the store has begun."""

    id: str
    part_bytes: int
    """Bytes of each part but the last."""
    uses_sha256: bool
    """Whether parts have this checksum; else Content-MD5."""


@dataclass(frozen=True)
class SentPart:
    """A part that the store has."""

    number: int
    """The first is 1."""
    etag: str
    sha256: str
    """Hex, of the bytes that were sent."""


class Journal:
    """The file; only its owner, inside `locked`, may use the other methods."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    @contextmanager
    def locked(self, *, label: str) -> Iterator[None]:
        """Wait until no other process sends the same file to the same place.

        Raises:
            StoreError: the folder cannot be written to.
        """
        try:
            self._descriptor = self._lock()
        except OSError as error:
            raise StoreError(
                f"{label}: uploads are remembered in {self._path.parent} ({error.strerror}); set "
                "PTEFOUNDRY_CACHE to a folder that can be written to"
            ) from error
        try:
            yield
        finally:
            os.close(self._descriptor)

    def load(self) -> tuple[Upload | None, dict[int, SentPart]]:
        """The upload, None if there is none, and its parts by number."""
        lines = list(_parsed(self._path.read_bytes()))
        try:
            upload, parts = Upload(**lines[0]), [SentPart(**line) for line in lines[1:]]
        except (IndexError, TypeError):
            return None, {}
        return upload, {part.number: part for part in parts}

    def clear(self) -> None:
        """Forget the upload and its parts."""
        os.ftruncate(self._descriptor, 0)

    def begin(self, upload: Upload) -> None:
        """Forget what was before; what follows is of this upload."""
        self.clear()
        self._append(asdict(upload))

    def add(self, part: SentPart) -> None:
        """Remember a part; may be called by several threads."""
        self._append(asdict(part))

    def remove(self) -> None:
        """The upload is finished: remove the file."""
        self._path.unlink(missing_ok=True)

    def _append(self, value: dict[str, Any]) -> None:
        # One write to a file opened for appending: lines of several threads do not mix.
        os.write(self._descriptor, json.dumps(value).encode() + b"\n")

    def _lock(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self._is_current(descriptor):
                return descriptor
            os.close(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        """Whether the file has not been removed by whoever held its lock before."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False


def _parsed(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.split(b"\n"):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value
