"""Sparing DVC what it does for each stage anew, though nothing has changed.

With hundreds of stages these are most of what a stage costs beside its command. What DVC
decides, and each file that it leaves, stays the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

_GLOB = frozenset("*?[")


@contextmanager
def shortcuts() -> Iterator[None]:
    """For the time of the block DVC takes all shortcuts of this module."""
    from dvc import rwlock
    from dvc.dependency import param
    from dvc.stage import PipelineStage

    held, look_up, dump = rwlock.rwlock, param.dpath, PipelineStage.dump
    rwlock.rwlock = _held_once(held)
    param.dpath = _Paths(look_up)
    PipelineStage.dump = _forgetting(dump)
    try:
        yield
    finally:
        rwlock.rwlock, param.dpath, PipelineStage.dump = held, look_up, dump


def _held_once(
    rwlock: Callable[..., AbstractContextManager[None]],
) -> Callable[..., AbstractContextManager[None]]:
    """DVC's locks of paths, without those that the process has already.

    A stage takes them nine times, one in the other, and writes their file each time.
    """
    reading: list[str] = []
    writing: list[str] = []

    @contextmanager
    def held(
        tmp_dir: str, fs: Any, cmd: str, read: Sequence[str], write: Sequence[str], hardlink: bool
    ) -> Iterator[None]:
        if {*write} <= {*writing} and {*read} <= {*reading, *writing}:
            yield
            return
        with rwlock(tmp_dir, fs, cmd, read, write, hardlink):
            reading.extend(read)
            writing.extend(write)
            try:
                yield
            finally:
                del reading[len(reading) - len(read) :]
                del writing[len(writing) - len(write) :]

    return held


class _Paths:
    """`dpath`, which walks through a whole file for one value of it."""

    def __init__(self, whole: Any) -> None:
        self._whole = whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def get(self, data: Any, path: str, separator: str) -> Any:
        """The value at a path: straight to it where that is plain."""
        value = data
        for key in path.split(separator):
            if not isinstance(value, Mapping) or key not in value or _GLOB & {*key}:
                return self._whole.get(data, path, separator=separator)
            value = value[key]
        return value


def _forgetting(dump: Callable[..., None]) -> Callable[..., None]:
    """The end of a stage: its record is written, and its lists of files are no longer needed.

    DVC leaves each in fsspec's memory, which it searches from end to end whenever it
    looks for one.
    """

    def forget(stage: Any, *args: Any, **options: Any) -> None:
        from fsspec.implementations.memory import MemoryFileSystem

        dump(stage, *args, **options)
        MemoryFileSystem.store.clear()

    return forget
