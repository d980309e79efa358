"""A file as numbered parts of equal size, each with its digest, and the digest of all."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ptefoundry.registry.store.copying import WrongBytesError

_PIECE_BYTES = 1 << 20
_MIB = 1 << 20
LEAST_PART_BYTES = 32 << 20
_PARTS = 10_000
"""The most that S3 takes."""


@dataclass(frozen=True)
class FilePart:
    """The bytes from `start` to before `end`."""

    number: int
    """The first is 1."""
    start: int
    end: int
    sha256: bytes
    md5: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


class FileParts:
    """The parts of an open file."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        """Nothing is read yet.

        Args:
            path: names the file in messages.
            file: opened without a buffer.
        """
        self._path, self._descriptor = path, file.fileno()
        self._before = self._state()
        self._whole = hashlib.sha256()
        self.size = self._before[0]
        self.part_bytes = part_bytes(self.size)

    def size_of(self, number: int) -> int:
        """Bytes of a part; 0 for one that the file does not have."""
        start = (number - 1) * self.part_bytes
        return max(0, min(start + self.part_bytes, self.size) - start)

    def read(self, *, with_md5: bool) -> Iterator[FilePart]:
        """All parts in order; to be used once. Their `md5` is meaningless without `with_md5`.

        Raises:
            WrongBytesError: the file became shorter.
        """
        for start in range(0, self.size, self.part_bytes):
            end = min(start + self.part_bytes, self.size)
            sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
            digests = [self._whole, sha256, *([md5] if with_md5 else [])]
            at = start
            while at < end:
                piece = os.pread(self._descriptor, min(_PIECE_BYTES, end - at), at)
                if not piece:
                    raise self._changed()
                for digest in digests:
                    digest.update(piece)
                at += len(piece)
            yield FilePart(start // self.part_bytes + 1, start, end, sha256.digest(), md5.digest())

    def whole_sha256(self) -> str:
        """Hex digest of what `read` has read."""
        return self._whole.hexdigest()

    def check_unchanged(self) -> None:
        """See that nobody wrote into the file since this object was made.

        Raises:
            WrongBytesError: somebody did.
        """
        if self._state() != self._before:
            raise self._changed()

    def _state(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        return found.st_size, found.st_mtime_ns

    def _changed(self) -> WrongBytesError:
        return WrongBytesError(
            f"{self._path}: the file was changed while it was sent; let whatever writes it finish "
            "and push again"
        )


def part_bytes(size: int) -> int:
    """Bytes of each part but the last: the same for a file of that size in every run."""
    least = -(-size // _PARTS)
    return max(LEAST_PART_BYTES, -(-least // _MIB) * _MIB)
