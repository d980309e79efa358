"""Keeping other builds out of a workspace while DVC runs in a container.

DVC's lock files name processes by number, which mean nothing outside of the container. So
DVC gets a folder for them of its own in there, and meanwhile its lock is held out here.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptefoundry.errors import BuildError

from .graph import opened

_BUSY = "{}: another build or DVC command is running here; wait for it and run again"


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold DVC's lock of a workspace.

    Raises:
        BuildError: another process holds it, or runs a stage.
    """
    with opened(root) as repo:
        lock, processes = repo.lock, Path(repo.tmp_dir) / "rwlock"
    from dvc.lock import LockError

    try:
        lock.lock()
    except LockError as error:
        raise BuildError(_BUSY.format(root)) from error
    try:
        # A stage runs without DVC's lock, its process stands in this file.
        if any(_is_running(process) for process in _numbers(processes)):
            raise BuildError(_BUSY.format(root))
        yield
    finally:
        lock.unlock()


def _numbers(file: Path) -> Iterator[int]:
    try:
        locks = json.loads(file.read_text())
        for readers in locks.get("read", {}).values():
            yield from (int(reader["pid"]) for reader in readers)
        for writer in locks.get("write", {}).values():
            yield int(writer["pid"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # DVC tells what is wrong with it.


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
