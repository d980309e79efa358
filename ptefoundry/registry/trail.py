"""Hashing a large blob behind its chunks, which arrive in any order."""

import hashlib
import threading
from collections.abc import Sequence

from ptefoundry.registry.chunks import Chunk
from ptefoundry.registry.partials import Partial

_PIECE = 1 << 20
_WRITEBACK_BYTES = 64 << 20


class Trail:
    """Hashes a file from its beginning, behind the chunks that arrive in any order."""

    def __init__(self, partial: Partial, chunks: Sequence[Chunk], *, check_prefixes: bool) -> None:
        self.known: set[int] = set()
        """Indexes of chunks that are to be read."""
        self.is_wrong = False
        """A chunk is not what the prefix's digest says; no more is read."""
        self._partial, self._chunks, self._checks = partial, chunks, check_prefixes
        self._changed = threading.Condition()
        self._digest = hashlib.sha256()
        self._closed = False
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def follow(self, chunk: Chunk) -> None:
        """A chunk is there."""
        with self._changed:
            self.known.add(chunk.index)
            self._changed.notify()

    def result(self) -> str:
        """The digest in hex, once all chunks are there or one is wrong."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._digest.hexdigest()

    def close(self) -> None:
        """End without a result."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._hash()
        except OSError as error:
            self._failure = error

    def _hash(self) -> None:
        flushed = 0
        for chunk in self._chunks:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or chunk.index in self.known)  # noqa: B023
                if self._closed:
                    return
            for at in range(chunk.start, chunk.end, _PIECE):
                self._digest.update(self._partial.read(at, min(_PIECE, chunk.end - at)))
            if self._checks and self._digest.hexdigest() != chunk.prefix_sha256:
                self.is_wrong = True
                return
            if chunk.end - flushed >= _WRITEBACK_BYTES:
                self._partial.begin_writeback(flushed, chunk.end)
                flushed = chunk.end
