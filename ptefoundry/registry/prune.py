"""Making the cache smaller: blobs used least recently go, none that is in use.

A process that uses blobs holds a session. Whatever was used since the oldest session
began stays, and so does what is used while pruning: a blob is looked at and removed
under its lock, under which others note that they use it.
"""

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.registry.cache import BlobCache, CachedBlob
from ptefoundry.registry.disk import lock_file
from ptefoundry.registry.partials import Partial

PARTIAL_AGE_S = 7 * 86400.0
"""Seconds after which a download that nobody goes on with counts as abandoned."""
_NOTE_AGE_S = 90 * 86400.0
#: The kernel's time of files may be this much behind the clock.
_CLOCK_STEP_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What pruning came to. Blobs that targets link to free room when those go as well."""

    blobs: int
    """Blobs that were removed."""
    partials: int
    """Abandoned downloads that were removed."""
    freed: int
    """Bytes of both."""
    kept: int
    """Bytes that the cache has now; more than was asked for if they are in use."""


def prune(cache: BlobCache, max_size: int, *, partial_age_s: float = PARTIAL_AGE_S) -> Pruned:
    """Drop abandoned downloads, then blobs until the cache has at most `max_size` bytes.

    Downloads that are not abandoned count, and stay.
    """
    now = time.time()
    horizon = min([now, *_sessions(cache)]) - _CLOCK_STEP_S
    abandoned = [
        size for path in _partials(cache) if (size := _drop_partial(path, now - partial_age_s))
    ]
    _drop_stray_marks(cache)
    size = sum(_size(path) for path in _partials(cache))
    blobs = cache.blobs()
    size += sum(blob.size for blob in blobs)
    dropped = []
    for blob in blobs:
        if size <= max_size:
            break
        if _drop_blob(cache, blob, horizon):
            dropped.append(blob.size)
            size -= blob.size
    cache.verified.drop_older(now - _NOTE_AGE_S)
    return Pruned(
        blobs=len(dropped),
        partials=len(abandoned),
        freed=sum(dropped) + sum(abandoned),
        kept=size,
    )


def drop_unused(cache: BlobCache, digest: str) -> bool:
    """Remove a blob unless a session is open or somebody begins to use it; whether it went."""
    path = cache.path(digest)
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    last_use = cache.verified.last_use(status)
    if any(True for _ in _sessions(cache)):
        return False
    blob = CachedBlob(digest=digest, size=status.st_size, last_use=last_use, path=path)
    return _drop_blob(cache, blob, math.nextafter(last_use, math.inf))


def _sessions(cache: BlobCache) -> Iterator[float]:
    """When the sessions that are open began; files of dead ones are removed."""
    for path in cache.sessions.glob("*"):
        try:
            began = path.stat().st_mtime
            lock = lock_file(path, os.O_RDONLY, wait=False)
        except FileNotFoundError:
            continue
        if lock is None:
            yield began
            continue
        path.unlink(missing_ok=True)
        os.close(lock)


def _partials(cache: BlobCache) -> list[Path]:
    return [path for path in cache.partials.glob("*") if not path.suffix]


def _drop_stray_marks(cache: BlobCache) -> None:
    """Remove marks whose download was completed by a process that died right then."""
    for marks in cache.partials.glob("*.chunks"):
        if not marks.with_suffix("").exists():
            marks.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _drop_partial(path: Path, before: float) -> int:
    """Remove a download that was not touched since `before`; its bytes, 0 if it stays."""
    try:
        if path.stat().st_mtime >= before:
            return 0
    except FileNotFoundError:
        return 0
    partial = Partial.try_lock(path)
    if partial is None:
        return 0
    try:
        size = partial.size
        partial.discard()
        return size
    finally:
        partial.release()


def _drop_blob(cache: BlobCache, blob: CachedBlob, horizon: float) -> bool:
    """Remove a blob unless it is being looked at or was used since `horizon`."""
    try:
        lock = lock_file(blob.path, os.O_RDONLY, wait=False)
    except FileNotFoundError:
        return False
    if lock is None:
        return False
    try:
        status = os.fstat(lock)
        if cache.verified.last_use(status) >= horizon:
            return False
        blob.path.unlink()
        cache.verified.forget(status)
        return True
    finally:
        os.close(lock)
