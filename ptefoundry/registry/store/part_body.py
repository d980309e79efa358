"""A part of a file as a request's body, read as it is sent."""

import io
import os


class PartBody(io.RawIOBase):
    """The bytes from `start` to before `end` of an open file; moves nobody else's position."""

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        super().__init__()
        self._descriptor, self._start, self._end = descriptor, start, end
        self._at = start

    def __len__(self) -> int:
        return self._end - self._start

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes: a retried request begins again."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset within the part."""
        origin = {os.SEEK_SET: self._start, os.SEEK_CUR: self._at, os.SEEK_END: self._end}
        self._at = min(max(origin[whence] + offset, self._start), self._end)
        return self.tell()

    def tell(self) -> int:
        """The offset within the part."""
        return self._at - self._start

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes, all that are left if it is negative or None."""
        left = self._end - self._at
        wanted = left if size is None or size < 0 else min(size, left)
        data = os.pread(self._descriptor, wanted, self._at)
        self._at += len(data)
        return data
