"""Giving the shared cache what this machine has built, and mending what is damaged there.

`dvc push` never sends again what it believes to be there, and checks nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .dvc_work import opened_for_work
from .shared_damage import forget_damaged, read_damaged
from .shared_runs import (
    below_cache,
    cache_top,
    objects_of,
    recorded_run,
    recorded_run_files,
    sorted_stages,
)
from .shared_store import LISTING, OBJECTS, StoredFile, hash_md5, object_name, open_store


@dataclass(frozen=True)
class Pushed:
    """What changed in the store."""

    files: int
    bytes: int
    removed: int
    """Damaged files that this machine has no replacement for."""


def push_stages(root: Path) -> Pushed:
    """Give the shared cache what the workspace has built, as far as it lacks it.

    Files of another size or content than ours are replaced, and those removed that were found
    damaged and that we do not have. Runs come last, so that nobody finds a run without its outputs.

    Raises:
        ConfigError: there is no shared cache.
        StoreError: it cannot be written.
    """
    with opened_for_work(root) as repo:
        store = open_store(repo)
        there, damaged = store.list_files(""), read_damaged(root)
        objects, runs = _own_objects(repo), _own_runs(repo)
        lacking = [
            (path, name)
            for name, path in {**objects, **runs}.items()
            if name in damaged or not _is_right(path, name, there.get(name))
        ]
        # What names other files comes after them.
        size = sum(
            store.send([one for one in lacking if _rank(one[1]) == rank]) for rank in range(3)
        )
        lost = [
            name
            for name in damaged - objects.keys() - runs.keys()
            if name in there and not _has_its_name(name, there[name])
        ]
        store.remove(lost)
    forget_damaged(root)
    return Pushed(files=len(lacking), bytes=size, removed=len(lost))


def _own_objects(repo: Any) -> Mapping[str, Path]:
    """Objects of the stages of dvc.lock that are here: name in the store -> file."""
    folder = cache_top(repo) / OBJECTS
    entries = [entry for stage in sorted_stages(repo, ()) if (entry := recorded_run(stage))]
    oids = dict.fromkeys(oid for entry in entries for oid in objects_of(entry, folder))
    found = {object_name(oid): folder / below_cache(oid) for oid in oids}
    return {name: path for name, path in found.items() if path.is_file()}


def _own_runs(repo: Any) -> Mapping[str, Path]:
    return {name: path for path, name in recorded_run_files(repo)}


def _rank(name: str) -> int:
    """Files, then the lists of folders, then runs."""
    if not name.startswith(f"{OBJECTS}/"):
        return 2
    return 1 if name.endswith(LISTING) else 0


def _is_right(path: Path, name: str, stored: StoredFile | None) -> bool:
    """Whether the store has our file, as far as it tells."""
    if stored is None or stored.size != path.stat().st_size:
        return False
    if not name.startswith(f"{OBJECTS}/"):
        return stored.md5 in (None, hash_md5(path))
    return stored.md5 is None or _has_its_name(name, stored)


def _has_its_name(name: str, stored: StoredFile) -> bool:
    """Whether an object in the store is known to be what its name says."""
    return stored.md5 is not None and name == object_name(stored.md5 + _suffix(name))


def _suffix(name: str) -> str:
    return LISTING if name.endswith(LISTING) else ""
