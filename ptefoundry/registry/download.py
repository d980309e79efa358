"""Downloading one blob of known digest and size from a store into a `Partial`.

A large blob that has a chunk list is fetched by several requests at once, each for a
few chunks in a row. All others come in one request and are hashed as a whole. Either way
the bytes are written where they belong as they arrive, so little memory is used, and what a
failed or killed download leaves is hashed again before it becomes part of a blob.

A thread reads behind the arriving chunks and hashes the blob from its beginning; at the end
of each chunk its digest so far must be the one that the list has for it. So each byte is
hashed once. Only where that is not so, or the list has no such digests, is each chunk hashed
by itself, which tells those that are wrong, to be fetched again.

A chunk list is only what somebody said. But it is the whole blob's digest that counts in
the end: a list that does not belong to a blob cannot put wrong bytes under its digest into the
cache of all bundles.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ptefoundry.errors import DigestMismatchError, ObjectMissingError, RegistryError, StoreError
from ptefoundry.registry.chunks import Chunk, ChunkList, has_chunk_list
from ptefoundry.registry.names import blob_key, hex_of
from ptefoundry.registry.partials import Partial
from ptefoundry.registry.store.interface import Piece, Store
from ptefoundry.registry.trail import Trail
from ptefoundry.registry.workers import Attempt, Crew

_CHUNKS_PER_REQUEST = 4
_WRONG_CHUNKS = 3
"""Times that a chunk may arrive wrong."""
_PIECE = 1 << 20


class WrongPrefixError(Exception):
    """A chunk that has arrived is wrong; `ParallelDownload.finish` finds out which."""


@dataclass(frozen=True, kw_only=True)
class WantedBlob:
    """What a manifest says of a blob."""

    digest: str
    """`sha256:<hex>`"""
    size: int
    """Bytes."""
    chunks: "WantedBlob | None" = None
    """The blob that holds its chunk list, if it has one."""

    @property
    def parallel(self) -> bool:
        """Whether it is to be fetched by several requests, which takes its chunk list."""
        return self.chunks is not None and has_chunk_list(self.size)


def whole(blob: WantedBlob) -> Chunk:
    """A blob as one chunk."""
    return Chunk(0, 0, blob.size, hex_of(blob.digest))


class Tally:
    """Counts bytes from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.done = 0
        """Bytes that are right or arriving."""
        self.received = 0
        """Bytes that stores sent, also those that were thrown away."""

    def add(self, done: int, *, received: int = 0) -> None:
        """Count bytes."""
        with self._lock:
            self.done += done
            self.received += received


@dataclass
class RangeJob:
    """Fetches neighbouring chunks of a blob by one request, or more after failures."""

    store: Store
    blob: WantedBlob
    partial: Partial
    chunks: Sequence[Chunk]
    """Those to fetch, each beginning where the one before ends."""
    tally: Tally
    on_right: Callable[[Chunk], None] = lambda _chunk: None
    """Called with each chunk that arrived right."""
    is_hashed: bool = True
    """Whether chunks are hashed here; else `on_right` gets all, and whoever it tells does."""

    def __post_init__(self) -> None:
        self._at = self.chunks[0].start
        self._next = 0
        self._digest = hashlib.sha256()
        self._wrong = 0

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"{self.store.url}{blob_key(self.blob.digest)}"

    @property
    def position(self) -> int:
        """See `Job`."""
        return self._at

    def run(self, attempt: Attempt) -> None:
        """See `Job`.

        Raises:
            DigestMismatchError: the store sent a chunk wrong each time.
            RegistryError: the store has no such blob.
            StoreError: it failed.
        """
        key, end = blob_key(self.blob.digest), self.chunks[-1].end
        while self._next < len(self.chunks):
            if end == 0:
                self._check_chunk()
                continue
            try:
                with self.store.stream(key, self._at, end) as pieces:
                    complete = all(self._receive(piece, attempt) for piece in pieces)
            except ObjectMissingError as error:
                raise RegistryError(
                    f"{self.label}: expected {self.blob.digest}, found no such object; run "
                    "`ptefoundry fsck`"
                ) from error
            if complete and self._next < len(self.chunks):
                raise StoreError(
                    f"{self.label}: expected the bytes up to {end}, the store sent those up to "
                    f"{self._at}"
                )

    def begin_after(self, count: int, attempt: Attempt) -> None:
        """Take the first `count` bytes, which are in the file, as having arrived."""
        while self._at < count:
            with attempt.alive():
                piece = self.partial.read(self._at, min(_PIECE, count - self._at))
                if not self._count(piece, received=0):
                    self._wrong = 0
                    return

    def _receive(self, piece: Piece, attempt: Attempt) -> bool:
        """Write and hash what arrived; False if the request is to be made anew."""
        rest = memoryview(piece)
        while rest:
            with attempt.alive():
                if self._next == len(self.chunks):
                    raise StoreError(f"{self.label}: the store sent more than it was asked for")
                part = rest[: self.chunks[self._next].end - self._at]
                self.partial.write(part, self._at)
                if not self._count(part, received=len(part)):
                    return False
            rest = rest[len(part) :]
        return True

    def _count(self, part: bytes | memoryview, *, received: int) -> bool:
        """Hash the next bytes; False if they completed a chunk that is wrong."""
        if self.is_hashed:
            self._digest.update(part)
        self._at += len(part)
        self.tally.add(len(part), received=received)
        return self._at < self.chunks[self._next].end or self._check_chunk()

    def forget_unfinished(self) -> None:
        """Count no more what arrived of a chunk that is not complete; the job has ended."""
        if self._next < len(self.chunks):
            self.tally.add(self.chunks[self._next].start - self._at)

    def _check_chunk(self) -> bool:
        chunk, found = self.chunks[self._next], self._digest.hexdigest()
        self._digest = hashlib.sha256()
        if found == chunk.sha256 or not self.is_hashed:
            self._next, self._wrong = self._next + 1, 0
            self.on_right(chunk)
            return True
        self.tally.add(chunk.start - self._at)
        self._at = chunk.start
        self._wrong += 1
        if self._wrong == _WRONG_CHUNKS:
            raise DigestMismatchError(
                f"{self.label}: bytes {chunk.start} to {chunk.end} (chunk {chunk.index}): expected "
                f"sha256 {chunk.sha256}, received {found}, {self._wrong} times wrong; the store or "
                "the way from it damages them: `ptefoundry verify --deep` tells which"
            )
        return False


class ParallelDownload:
    """A blob that is fetched chunk by chunk."""

    def __init__(
        self, store: Store, blob: WantedBlob, chunks: ChunkList, partial: Partial, tally: Tally
    ) -> None:
        self._store, self._blob, self._partial, self._tally = store, blob, partial, tally
        self._chunks = chunks.chunks(blob.size)
        # The last prefix is the whole.
        last = (chunks.prefix_sha256 or ())[-1:]
        self._has_prefixes = last == (hex_of(blob.digest),)
        self._trail = Trail(partial, self._chunks, check_prefixes=self._has_prefixes)

    def begin(self) -> None:
        """Make room, and take the chunks that are marked for right until `finish`.

        Raises:
            DiskFullError: there is no room.
        """
        for index in self._partial.reserve(self._blob.size, len(self._chunks)):
            chunk = self._chunks[index]
            self._trail.follow(chunk)
            self._tally.add(chunk.end - chunk.start)

    def run(self, crew: Crew, threads: int, *, tick: Callable[[], None]) -> None:
        """Have a crew of so many threads fetch what is missing, or until a chunk is wrong.

        Raises:
            FoundryError: as `RangeJob.run`.
        """
        jobs = self._jobs(threads)
        try:
            crew.run(jobs, tick=tick)
        except WrongPrefixError:
            for job in jobs:
                job.forget_unfinished()

    def _jobs(self, threads: int) -> list[RangeJob]:
        missing = [chunk for chunk in self._chunks if chunk.index not in self._trail.known]
        length = max(1, min(_CHUNKS_PER_REQUEST, len(missing) // threads))
        return [
            RangeJob(
                self._store,
                self._blob,
                self._partial,
                part,
                self._tally,
                self._keep,
                is_hashed=not self._has_prefixes,
            )
            for part in _neighbours(missing, length)
        ]

    def finish(self) -> bool:
        """Check the whole blob; False if chunks are wrong or missing, to be fetched.

        Raises:
            RegistryError: the chunk list does not belong to the blob.
        """
        if self._trail.result() == hex_of(self._blob.digest):
            return True
        arrived, self._has_prefixes = self._trail.known, False
        self._trail = Trail(self._partial, self._chunks, check_prefixes=False)
        for chunk in self._chunks:
            if chunk.index not in arrived:
                continue
            if self._partial.hash_range(chunk.start, chunk.end) == chunk.sha256:
                self._trail.follow(chunk)
            else:
                self._partial.mark(chunk.index, right=False)
                self._tally.add(chunk.start - chunk.end)
        if len(self._trail.known) < len(self._chunks):
            return False
        if self._trail.result() == hex_of(self._blob.digest):
            # It was the prefixes that were wrong.
            return True
        self._partial.discard()
        raise RegistryError(
            f"{self._store.url}{blob_key(self._blob.digest)}: expected the blob that its chunk "
            "list describes, found another: each chunk is right, the whole is not. Whoever "
            "pushed this list made a mistake or means harm; do not use the version"
        )

    def close(self) -> None:
        """Stop reading; the partial blob stays."""
        self._trail.close()

    def _keep(self, chunk: Chunk) -> None:
        self._partial.mark(chunk.index, right=True)
        self._trail.follow(chunk)
        if self._trail.is_wrong:
            raise WrongPrefixError


def _neighbours(chunks: Iterable[Chunk], length: int) -> list[list[Chunk]]:
    """Chunks that follow each other, at most `length` together."""
    parts: list[list[Chunk]] = []
    for chunk in chunks:
        if parts and len(parts[-1]) < length and parts[-1][-1].end == chunk.start:
            parts[-1].append(chunk)
        else:
            parts.append([chunk])
    return parts
