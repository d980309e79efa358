"""Locks on files, and what to say when a disk is full."""

import errno
import fcntl
import os
import shutil
from pathlib import Path

from ptefoundry.errors import DiskFullError
from ptefoundry.report import format_size

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CACHE_ADVICE = (
    "make room, for instance with `ptefoundry cache prune --max-size ...`, or set "
    "PTEFOUNDRY_CACHE to another disk"
)


def lock_file(path: Path, flags: int, *, wait: bool, shared: bool = False) -> int | None:
    """Open and lock a file that others may rename or remove; its descriptor.

    The lock is on the file itself, so none has to be left behind; whoever gets it
    after a rename or removal looks for the file anew.

    Args:
        path: the file.
        flags: of `os.open`.
        wait: for whoever holds the lock, instead of returning None.
        shared: with others that lock it shared.

    Raises:
        FileNotFoundError: it is not there, and `flags` do not create it.
    """
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, operation if wait else operation | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if _is_at(path, descriptor):
            return descriptor
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether somebody holds a lock on a file; False if there is none."""
    try:
        descriptor = lock_file(path, os.O_RDONLY, wait=False, shared=True)
    except FileNotFoundError:
        return False
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def check_room(folder: Path, size: int, *, what: str, advice: str = _CACHE_ADVICE) -> None:
    """Check that a disk has room.

    Args:
        folder: on that disk.
        size: bytes.
        what: needs the room, for the message.
        advice: what to do where there is none.

    Raises:
        DiskFullError: it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DiskFullError(
            f"{folder}: {what} needs {format_size(size)} on this disk, {format_size(free)} are "
            f"free: {format_size(size - free)} are missing; {advice}"
        )


def explain_full(error: OSError, path: Path, size: int) -> Exception:
    """The error to raise: `DiskFullError` where a disk, quota or limit is exhausted."""
    if error.errno not in _FULL:
        return error
    free = shutil.disk_usage(path.parent).free
    return DiskFullError(
        f"{path}: needs {format_size(size)} ({error.strerror}); {format_size(free)} are free on "
        "this disk; make room or raise the quota or limit of file sizes, then run again: what "
        "has arrived is kept"
    )


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
