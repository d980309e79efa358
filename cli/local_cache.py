"""Noticing what was altered in DVC's cache on this machine before a build restores from it.

DVC trusts a file of its cache that is read-only, and what a note of a run says. A disk that was
full, a copy that was cut or somebody who wrote to a hard link would go into the next bundle. So
each file is checked once when it is first seen, and again when its size, date or inode have
changed; what DVC itself hashed in a build that succeeded is only remembered.
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

from ptefoundry.files import write_text
from ptefoundry.report import progress

from .output import print_note
from .shared_runs import drop_run, read_run
from .shared_store import LISTING, OBJECTS, PART_PREFIX, PART_SUFFIX, RUNS, hash_md5

_MEMORY = "ptefoundry-checked.json"
"""In the cache, as several workspaces may share one: file -> size, date in ns, inode."""
_OBJECT = re.compile(r"[0-9a-f]{30}(?:\.dir)?")
_RUN = re.compile(r"[0-9a-f]{64}")

_ABANDONED_S = 24 * 3600.0
_SETTLED_S = 10.0

_State = tuple[int, int, int]


def drop_altered_files(root: Path) -> None:
    """Delete files of a workspace's cache that are not what their names say; tell of them.

    What they were is then built again, or taken from the shared cache.
    """
    cache = _cache_folder(root)
    if cache is None:
        return
    known, found = _read_memory(cache), dict(_files(cache))
    unknown = {name: state for name, state in found.items() if known.get(name) != state}
    altered = []
    with progress("checking DVC's cache", sum(size for size, _, _ in unknown.values())) as advance:
        for name, (size, _, _) in unknown.items():
            if not _is_right(cache, name):
                _drop(cache, name)
                altered.append(name)
            advance(size)
    _drop_empty_folders(cache)
    _drop_abandoned_downloads(cache)
    if altered:
        names = "\n  ".join(altered)
        print_note(
            f"warning: {cache}: dropped {len(altered)} altered files of DVC's cache; what they "
            f"were is made anew:\n  {names}"
        )
    if unknown or known.keys() != found.keys():
        _write_memory(cache, {name: state for name, state in found.items() if name not in altered})


def remember_files(root: Path) -> None:
    """Note the files that a successful build has added, all of which DVC has made or hashed."""
    cache = _cache_folder(root)
    if cache is None:
        return
    known, found = _read_memory(cache), dict(_files(cache))
    # What was known stays as it was: should it have changed meanwhile, it is hashed next time.
    if added := found.keys() - known.keys():
        _write_memory(cache, known | {name: found[name] for name in added})


def _is_right(cache: Path, name: str) -> bool:
    path = cache / name
    if name.startswith(f"{RUNS}/"):
        return read_run(name, path.read_bytes()) is not None
    return hash_md5(path) == f"{path.parent.name}{path.name}".removesuffix(LISTING)


def _drop(cache: Path, name: str) -> None:
    if name.startswith(f"{RUNS}/"):
        drop_run(cache / name)
    else:
        (cache / name).unlink()


def _drop_empty_folders(cache: Path) -> None:
    """DVC leaves them where it dropped a damaged note itself, and then fails because of them."""
    for folder in (cache / RUNS).glob("??/*"):
        # Another build that shares the cache may be about to write into a new one.
        if _age(folder) > _SETTLED_S:
            drop_run(folder / "none")


def _drop_abandoned_downloads(cache: Path) -> None:
    """Parts of objects that a killed process has left, and nobody writes any more."""
    for path in (cache / OBJECTS).glob(f"??/{PART_PREFIX}*{PART_SUFFIX}"):
        if _age(path) > _ABANDONED_S:
            path.unlink(missing_ok=True)


def _age(path: Path) -> float:
    """Seconds since it was written; 0 if another process has just taken it away."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _cache_folder(root: Path) -> Path | None:
    """Where DVC keeps its cache; None if there is none yet."""
    if not (root / ".dvc").is_dir():
        return None
    from dvc.config import Config

    folder = Path(Config(str(root / ".dvc"))["cache"].get("dir") or root / ".dvc" / "cache")
    return folder if (folder / OBJECTS).is_dir() else None


def _files(cache: Path) -> Iterator[tuple[str, _State]]:
    for top, pattern, whole in ((OBJECTS, "??/*", _OBJECT), (RUNS, "??/*/*", _RUN)):
        for path in (cache / top).glob(pattern):
            # Others are being written.
            if whole.fullmatch(path.name):
                state = path.stat()
                name = path.relative_to(cache).as_posix()
                yield name, (state.st_size, state.st_mtime_ns, state.st_ino)


def _read_memory(cache: Path) -> dict[str, _State]:
    try:
        memory = json.loads((cache / _MEMORY).read_bytes())
        return {name: (size, date, inode) for name, (size, date, inode) in memory.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        # Whatever is there: all is hashed, and the file written anew.
        return {}


def _write_memory(cache: Path, memory: dict[str, _State]) -> None:
    write_text(cache / _MEMORY, json.dumps(memory, separators=(",", ":")))
