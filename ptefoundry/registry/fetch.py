"""Fetching many blobs into the cache: what is missing, once each, with progress.

Small blobs come first and many at once: they show early whether a registry is whole.
Large ones follow one after the other, each by several requests. What another process
is fetching is left to it and waited for at the end, so that two pulls share the work.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from ptefoundry.errors import DigestMismatchError, RegistryError
from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.chunks import ChunkList, parse_chunk_list
from ptefoundry.registry.disk import check_room
from ptefoundry.registry.download import ParallelDownload, RangeJob, Tally, WantedBlob, whole
from ptefoundry.registry.names import blob_key
from ptefoundry.registry.oci import DOCUMENT_LIMIT
from ptefoundry.registry.parallel import BLOB_THREADS
from ptefoundry.registry.partials import Partial
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.workers import Attempt, Crew, Patience
from ptefoundry.report import Advance, progress

_log = logging.getLogger(__name__)

_WAIT_S = 0.2
_SHOWN = 3
_DISK_TRIES = 3


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What fetching came to."""

    blobs: int
    """Blobs that were asked for, each digest once."""
    missing: int
    """Those of them that the cache did not have."""
    received: int
    """Bytes that the store sent, those that were thrown away too."""


def fetch_blobs(
    store: Store,
    blobs: Iterable[WantedBlob],
    cache: BlobCache,
    *,
    threads: int = BLOB_THREADS,
    patience: Patience | None = None,
    label: str = "pulling",
) -> Fetched:
    """Have the cache hold all of `blobs`, whole and verified.

    An interrupted call, or one that failed, leaves what has arrived; the next goes on.
    Call it within `cache.session()` if the blobs are to be there afterwards.

    Args:
        store: where from.
        blobs: which.
        cache: where to.
        threads: requests at once.
        patience: with a store that fails or stalls.
        label: of the progress.

    Raises:
        StoreError: the store cannot be reached.
        DigestMismatchError: what it sends is wrong.
        RegistryError: what is said of a blob contradicts itself, or the store lacks it.
        DiskFullError: there is no room.
    """
    wanted = _unique(blobs)
    with cache.session(), Crew(threads, patience=patience) as crew:
        missing = _missing(wanted, cache)
        if not missing:
            return Fetched(blobs=len(wanted), missing=0, received=0)
        _check_room(missing, cache)
        lists = [blob.chunks for blob in missing if blob.parallel and blob.chunks is not None]
        to_fetch = _unique([*lists, *missing])
        with progress(label, sum(blob.size for blob in to_fetch)) as advance:
            fetching = _Fetching(store, cache, crew, _Meter(advance), threads)
            fetching.run(to_fetch)
        return Fetched(
            blobs=len(wanted), missing=len(missing), received=fetching.meter.tally.received
        )


class _Meter:
    """Shows a tally as progress; only the thread that called for it does."""

    def __init__(self, advance: Advance) -> None:
        self.tally = Tally()
        self._advance = advance
        self._shown = 0

    def show(self, elsewhere: int = 0) -> None:
        """Show what is done, and what others have done of what is waited for."""
        done = self.tally.done + elsewhere
        if done != self._shown:
            self._advance(done - self._shown)
            self._shown = done


@dataclass
class _Fetching:
    store: Store
    cache: BlobCache
    crew: Crew
    meter: _Meter
    threads: int
    told: bool = False
    """Whether the user knows that others are waited for."""

    def run(self, blobs: list[WantedBlob]) -> None:
        """Fetch blobs that are missing; what others are fetching comes last."""
        while True:
            busy = self._fetch_small([blob for blob in blobs if not blob.parallel])
            unlisted = {blob.digest for blob in busy}
            for blob in blobs:
                if blob.chunks is None or not blob.parallel:
                    continue
                if blob.chunks.digest in unlisted or not self._fetch_large(blob):
                    busy.append(blob)
            if not busy:
                return
            self._wait_for(busy)
            blobs = busy

    def _fetch_small(self, blobs: list[WantedBlob]) -> list[WantedBlob]:
        """Fetch by one request each; returns those that somebody else is fetching."""
        if not blobs:
            return []
        jobs = [_SmallJob(self.store, blob, self.cache, self.meter.tally) for blob in blobs]
        try:
            self.crew.run(jobs, tick=self.meter.show)
        finally:
            for job in jobs:
                job.release()
        return [job.blob for job in jobs if job.busy]

    def _fetch_large(self, blob: WantedBlob) -> bool:
        """Fetch by several requests at once; False if somebody else is fetching it."""
        partial = self.cache.lock_partial(blob.digest)
        if partial is None:
            return False
        try:
            if _is_there(blob, self.cache, partial, self.meter.tally):
                return True
            self._fetch_chunks(blob, partial)
            self.cache.adopt(partial, blob.digest)
            return True
        finally:
            partial.release()

    def _fetch_chunks(self, blob: WantedBlob, partial: Partial) -> None:
        chunks = self._chunk_list(blob)
        download = ParallelDownload(self.store, blob, chunks, partial, self.meter.tally)
        try:
            download.begin()
            for _ in range(_DISK_TRIES):
                download.run(self.crew, self.threads, tick=self.meter.show)
                if download.finish():
                    return
        finally:
            download.close()
        raise DigestMismatchError(
            f"{partial.path}: what was right when it arrived was not when it was read again, "
            f"{_DISK_TRIES} times; the disk or the memory of this machine is broken"
        )

    def _chunk_list(self, blob: WantedBlob) -> ChunkList:
        assert blob.chunks is not None
        key = f"{self.store.url}{blob_key(blob.chunks.digest)}"
        data = self.cache.read(blob.chunks.digest, blob.chunks.size)
        if data is None:
            raise RegistryError(f"{key}: expected it in the cache, where it was put; run again")
        return parse_chunk_list(data, size=blob.size, where=key)

    def _wait_for(self, busy: list[WantedBlob]) -> None:
        """Wait until one of these blobs is there, or nobody fetches it any more."""
        if not self.told:
            _log.warning(
                "waiting for another process, which is fetching %s",
                ", ".join(blob.digest for blob in busy[:_SHOWN]),
            )
            self.told = True
        time.sleep(_WAIT_S)
        while all(self.cache.is_arriving(blob.digest) for blob in busy):
            self.meter.show(sum(self.cache.arrived(blob.digest, blob.size) for blob in busy))
            time.sleep(_WAIT_S)


class _SmallJob:
    """Fetches a blob by one request, going on after what is there already."""

    def __init__(self, store: Store, blob: WantedBlob, cache: BlobCache, tally: Tally) -> None:
        self.blob = blob
        self.busy = False
        """Somebody else is fetching it."""
        self._store, self._cache, self._tally = store, cache, tally
        self._partial: Partial | None = None
        self._there = 0
        self._range: RangeJob | None = None

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"{self._store.url}{blob_key(self.blob.digest)}"

    @property
    def position(self) -> int:
        """See `Job`."""
        return self._range.position if self._range is not None else 0

    def run(self, attempt: Attempt) -> None:
        """See `RangeJob.run`."""
        with attempt.alive():
            if self._range is None and not self._begin():
                return
            assert self._range is not None
            assert self._partial is not None
        self._range.begin_after(self._there, attempt)
        self._range.run(attempt)
        with attempt.alive():
            self._partial.begin_writeback(0, self.blob.size)
            self._cache.adopt(self._partial, self.blob.digest)

    def release(self) -> None:
        """Let others have the blob; what has arrived of it stays."""
        if self._partial is not None:
            self._partial.release()

    def _begin(self) -> bool:
        """Lock the blob; False if there is nothing to do for this job."""
        self._partial = self._cache.lock_partial(self.blob.digest)
        self.busy = self._partial is None
        if self._partial is None or _is_there(self.blob, self._cache, self._partial, self._tally):
            return False
        self._there = self._partial.begin_stream(self.blob.size)
        self._range = RangeJob(
            self._store, self.blob, self._partial, [whole(self.blob)], self._tally
        )
        return True


def _is_there(blob: WantedBlob, cache: BlobCache, partial: Partial, tally: Tally) -> bool:
    """Whether somebody completed the blob before `partial` was locked."""
    if cache.take(blob.digest, blob.size) is None:
        return False
    partial.discard()
    tally.add(blob.size)
    return True


def _unique(blobs: Iterable[WantedBlob]) -> list[WantedBlob]:
    """Each digest once, in order; the one with a chunk list if only some have it.

    Raises:
        RegistryError: one digest is said to have two sizes, or a chunk list is too large.
    """
    found: dict[str, WantedBlob] = {}
    for blob in blobs:
        known = found.setdefault(blob.digest, blob)
        if known.size != blob.size:
            raise RegistryError(
                f"{blob.digest}: size: one manifest says {known.size} bytes, another {blob.size}"
            )
        if known.chunks is None:
            found[blob.digest] = blob
        if blob.chunks is not None and blob.chunks.size > DOCUMENT_LIMIT:
            raise RegistryError(
                f"{blob.digest}: expected a chunk list of at most {DOCUMENT_LIMIT} bytes, found "
                f"one of {blob.chunks.size}"
            )
    return list(found.values())


def _missing(wanted: list[WantedBlob], cache: BlobCache) -> list[WantedBlob]:
    """Those that the cache does not have; it hashes the others."""
    missing = []
    with progress("checking the cache", sum(blob.size for blob in wanted)) as advance:
        for blob in wanted:
            if cache.take(blob.digest, blob.size) is None:
                missing.append(blob)
            advance(blob.size)
    return missing


def _check_room(missing: list[WantedBlob], cache: BlobCache) -> None:
    """Check that all of it has room, less what has arrived; raises DiskFullError."""
    cache.partials.mkdir(parents=True, exist_ok=True)
    size = sum(blob.size - cache.arrived(blob.digest, blob.size) for blob in missing)
    check_room(cache.partials, size, what=f"a download of {len(missing)} blobs")
