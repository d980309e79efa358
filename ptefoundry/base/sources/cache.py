"""The cache of sources, a folder that may be deleted whenever nobody fetches.

downloads/<spec>-<hash>/   partial downloads of one spec, removed once it is fetched
downloads/<spec>-<hash>.lock
content/<digest>/          fetched folders by `content_digest`, checked on every use
wheels/<name>-<version>/   wheels that members are taken from
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptefoundry.base.sources.content import content_digest
from ptefoundry.digest import hash_bytes
from ptefoundry.files import place


def downloads(cache: Path, spec: str) -> Path:
    """The folder for partial downloads of `spec`; it need not exist."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", spec)[:60]
    return cache / "downloads" / f"{readable}-{hash_bytes(spec.encode())[:16]}"


def drop_downloads(cache: Path, spec: str) -> None:
    """Forget what has been downloaded of `spec`."""
    shutil.rmtree(downloads(cache, spec), ignore_errors=True)


@contextmanager
def locked(cache: Path, spec: str) -> Iterator[None]:
    """Wait until no other process fetches `spec` through this cache.

    Two writers would mix their bytes in one partial file. The kernel releases
    the lock of a process that dies; the lock's file stays, as removing it would
    let two processes hold locks on different files of one name.
    """
    folder = downloads(cache, spec)
    lock = folder.with_name(f"{folder.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Closing would not be enough if this process had forked meanwhile.
            fcntl.flock(file, fcntl.LOCK_UN)


def take_content(cache: Path, digest: str, into: Path) -> bool:
    """Fill the empty folder `into` with the content of that digest, if it is here and whole."""
    stored = _content(cache, digest)
    if not stored.is_dir():
        return False
    if content_digest(stored) != digest:
        shutil.rmtree(stored)
        return False
    _place_all(stored, into)
    return True


def keep_content(cache: Path, digest: str, folder: Path) -> None:
    """Remember `folder`, whose digest is known, without using disk space where links can do."""
    stored = _content(cache, digest)
    if stored.is_dir():
        return
    temporary = stored.with_name(f".{digest}.{os.getpid()}.tmp")
    try:
        _place_all(folder, temporary)
        temporary.rename(stored)
    except OSError:
        # Two specs of the same content may finish at once: the second finds it there.
        if not stored.is_dir():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _content(cache: Path, digest: str) -> Path:
    return cache / "content" / digest


def _place_all(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            place(path, target / path.relative_to(source))
