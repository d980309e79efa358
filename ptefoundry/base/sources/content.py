"""The folder that a fetch results in: its digest, and how it comes to be there whole."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.digest import hash_file, hash_tree


@dataclass(frozen=True, kw_only=True)
class FetchedSource:
    """What arrived."""

    digest: str
    """`content_digest` of the folder; what to pin."""
    resolved: str | None
    """The commit that a branch or tag stood for, for the user to pin; None if the source
    names a commit or has none, and if the content was in the cache by its digest."""
    files: Mapping[str, int]
    """Relative POSIX path -> size in bytes."""


def content_digest(folder: Path) -> str:
    """The digest that pins a fetched folder.

    A folder of one file has that file's SHA-256, so that `sha256sum` of a single
    download can be written down as it is; any other has `hash_tree`'s.
    """
    files = [path for path in folder.rglob("*") if path.is_file()]
    return hash_file(files[0]) if len(files) == 1 else hash_tree(folder)


def file_sizes(folder: Path) -> dict[str, int]:
    """Relative POSIX path -> size in bytes of every file below `folder`, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


@contextmanager
def assembled(into: Path) -> Iterator[Path]:
    """Yield an empty folder that takes `into`'s place if the block succeeds.

    If it fails there is no `into`, not even an older one: whoever finds the
    folder may trust that it is what was asked for last. One process at a time
    may assemble the same `into`.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    folder = into.with_name(f".{into.name}.tmp")
    _remove(folder)
    folder.mkdir()
    try:
        yield folder
        _sync(folder)
        _remove(into)
        folder.rename(into)
    except BaseException:
        _remove(into)
        raise
    finally:
        _remove(folder)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Write what is in `folder` to the disk, so that a rename never outruns its files."""
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
