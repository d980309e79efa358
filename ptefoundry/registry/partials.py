"""A blob that is arriving: its file, which chunks of it are right, and who may write to it.

<hex>           the bytes; locked by who fetches it, renamed into the cache when whole
<hex>.chunks    a byte for each chunk, 1 once it had arrived; only for blobs with a chunk list

The marks are hints: the whole blob is read and hashed before it is used, and if it is
wrong each chunk. So neither bytes nor marks need a flush to the disk for each chunk,
which would cost more than all else, and a power failure that lost bytes but kept marks
does no harm.
"""

import hashlib
import os
from pathlib import Path

from ptefoundry.registry.disk import check_room, explain_full, lock_file

_PIECE = 1 << 20


class Partial:
    """A blob that is arriving, locked for this user of it until `release`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._file = descriptor
        self._marks: int | None = None

    @classmethod
    def try_lock(cls, path: Path) -> "Partial | None":
        """Take the partial blob at `path`, which need not be there; None if somebody has it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = lock_file(path, os.O_RDWR | os.O_CREAT, wait=False)
        return None if descriptor is None else cls(path, descriptor)

    @property
    def size(self) -> int:
        """Bytes of the file, whether right or not."""
        return os.fstat(self._file).st_size

    def reserve(self, size: int, chunks: int) -> list[int]:
        """Give the file its final size, on the disk too; returns the indexes of marked chunks.

        Raises:
            DiskFullError: there is no room.
        """
        marks = _marks_of(self.path)
        if self.size != size:
            self.clear()
            self._allocate(size)
        self._marks = os.open(marks, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        found = os.pread(self._marks, chunks, 0)
        os.ftruncate(self._marks, chunks)
        return [index for index, mark in enumerate(found) if mark]

    def mark(self, index: int, *, right: bool) -> None:
        """Note whether a chunk is to be kept; `reserve` must have been called."""
        assert self._marks is not None
        os.pwrite(self._marks, b"\1" if right else b"\0", index)

    def begin_stream(self, size: int) -> int:
        """Prepare for `size` bytes that arrive in order; returns how many may be there.

        Raises:
            DiskFullError: there is no room for the others.
        """
        if self.size > size or _marks_of(self.path).exists():
            self.clear()
        check_room(self.path.parent, size - self.size, what=self.path.name)
        return self.size

    def write(self, data: bytes | memoryview, at: int) -> None:
        """Write at an offset.

        Raises:
            DiskFullError: there is no room.
        """
        rest = memoryview(data)
        try:
            while rest:
                written = os.pwrite(self._file, rest, at)
                rest, at = rest[written:], at + written
        except OSError as error:
            raise explain_full(error, self.path, at + len(rest)) from error

    def read(self, at: int, count: int) -> bytes:
        """At most `count` bytes from an offset."""
        return os.pread(self._file, count, at)

    def hash_range(self, start: int, end: int) -> str:
        """SHA-256 in hex of the bytes from `start` to before `end`."""
        digest = hashlib.sha256()
        for at in range(start, end, _PIECE):
            digest.update(self.read(at, min(_PIECE, end - at)))
        return digest.hexdigest()

    def begin_writeback(self, start: int, end: int) -> None:
        """Have the system begin to write these bytes to the disk, so that a flush is short."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file, start, end - start, os.POSIX_FADV_DONTNEED)

    def clear(self) -> None:
        """Throw all bytes away."""
        os.ftruncate(self._file, 0)
        _marks_of(self.path).unlink(missing_ok=True)

    def rename(self, target: Path) -> None:
        """Give the whole blob its name in the cache, read-only."""
        os.fchmod(self._file, 0o444)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.rename(target)
        _marks_of(self.path).unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the file; the lock stays until `release`."""
        self.path.unlink(missing_ok=True)
        _marks_of(self.path).unlink(missing_ok=True)

    def release(self) -> None:
        """Let others have it."""
        if self._marks is not None:
            os.close(self._marks)
            self._marks = None
        os.close(self._file)

    def _allocate(self, size: int) -> None:
        check_room(self.path.parent, size, what=self.path.name)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file, 0, size)
            else:
                os.ftruncate(self._file, size)
        except OSError as error:
            os.ftruncate(self._file, 0)
            raise explain_full(error, self.path, size) from error


def arrived(path: Path, size: int) -> int:
    """About how many bytes of a partial blob of `size` bytes are there; for progress."""
    try:
        marks = _marks_of(path).read_bytes()
        return size * sum(marks) // len(marks) if marks else 0
    except FileNotFoundError:
        pass
    try:
        return min(path.stat().st_size, size)
    except FileNotFoundError:
        return 0


def _marks_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.chunks")
