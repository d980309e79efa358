"""Replacing a folder in one step, so that a reader sees the old one or the new one.

Linux exchanges two folders atomically (renameat2 with RENAME_EXCHANGE, since 3.15).
Elsewhere the old one is moved aside first; if the process dies at that moment, the
next one that looks moves it back.

Whoever opens files by path always finds them, but may get one of the old folder and the
next of the new. Who needs all of one version opens the folder once and its files relative
to that (openat); if one is missing then, the folder was replaced: open it again.
"""

import ctypes
import errno
import glob
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ptefoundry.errors import ConfigError
from ptefoundry.files import sync
from ptefoundry.registry.disk import lock_file

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTTY, errno.EOPNOTSUPP})
_FOLDER = os.O_RDONLY | os.O_DIRECTORY


@contextmanager
def new_folder_beside(into: Path) -> Iterator[Path]:
    """Yield an empty hidden folder beside `into`; what has its name after the block goes.

    Leftovers of killed processes are removed first.

    Raises:
        ConfigError: the folder that `into` is in cannot be written to.
    """
    recover(into)
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(into)
        folder, lock = _make_locked(into)
    except OSError as error:
        raise ConfigError(
            f"{into.parent}: expected a folder to write to ({error.strerror}); name another target"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def replace_folder(new: Path, into: Path, *, check: Callable[[Path], None]) -> None:
    """Give `new` the name `into`; the older folder, if there is one, gets the name of `new`.

    Args:
        new: a complete folder in the same folder as `into`; its files are on the disk.
        into: a folder, or nothing.
        check: given the older folder, which no new reader finds any more; if it
            raises, the older folder gets its name back.
    """
    if _rename_first(new, into):
        return
    shutil.copymode(into, new)
    lock = lock_file(into, _FOLDER, wait=True)
    assert lock is not None
    try:
        _exchange(new, into)
        try:
            check(new)
        except BaseException:
            _exchange(new, into)
            raise
        sync(into.parent)
    finally:
        os.close(lock)


def recover(into: Path) -> None:
    """Move back what a process moved aside before it died; see above."""
    aside = _aside(into)
    if not aside.exists():
        return
    if into.exists():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.rename(into)


def _rename_first(new: Path, into: Path) -> bool:
    """Give `new` the name `into` if nothing has it, not even since a moment ago."""
    if into.exists():
        return False
    try:
        new.rename(into)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            return False
        raise
    sync(into.parent)
    return True


def _exchange(one: Path, other: Path) -> None:
    try:
        _rename_exchange(one, other)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        aside = _aside(other)
        other.rename(aside)
        one.rename(other)
        aside.rename(one)


def _rename_exchange(one: Path, other: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        renameat2 = libc.renameat2
    except AttributeError as error:
        raise OSError(errno.ENOSYS, "renameat2 is not there") from error
    names = os.fsencode(one), os.fsencode(other)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


def _make_locked(into: Path) -> tuple[Path, int]:
    while True:
        folder = into.with_name(f".{into.name}.{uuid.uuid4().hex}.tmp")
        folder.mkdir()
        # Somebody who looks for leftovers may have been faster.
        with suppress(FileNotFoundError):
            lock = lock_file(folder, _FOLDER, wait=True)
            assert lock is not None
            return folder, lock


def _remove_leftovers(into: Path) -> None:
    for path in into.parent.glob(f".{glob.escape(into.name)}.*.tmp"):
        with suppress(OSError):
            lock = lock_file(path, _FOLDER, wait=False)
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)


def _aside(into: Path) -> Path:
    return into.with_name(f".{into.name}.old")
