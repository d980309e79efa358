"""Noticing altered objects in DVC's cache on this machine before a build restores from them.

DVC trusts a file of its cache that is read-only. A disk that was full, a copy that was cut or
somebody who wrote to a hard link would go into the next bundle. So each object is hashed once
when it is first seen, and again when its size, date or inode have changed; what DVC itself
hashed in a build that succeeded is only remembered.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from ptefoundry.files import write_text
from ptefoundry.report import progress

from .output import print_note
from .shared_store import LISTING, OBJECTS, hash_md5

_MEMORY = "ptefoundry-checked.json"
"""In the cache, as several workspaces may share one: object -> size, date in ns, inode."""
_OBJECT = re.compile(r"[0-9a-f]{30}(?:\.dir)?")

_State = tuple[int, int, int]


def drop_altered_objects(root: Path) -> None:
    """Delete objects of a workspace's cache that are not what their names say; tell of them.

    What they were is then built again, or taken from the shared cache.
    """
    cache = _cache_folder(root)
    if cache is None:
        return
    known, found = _read_memory(cache), dict(_objects(cache))
    unknown = {oid: state for oid, state in found.items() if known.get(oid) != state}
    altered = []
    with progress("checking DVC's cache", sum(size for size, _, _ in unknown.values())) as advance:
        for oid, (size, _, _) in unknown.items():
            path = cache / OBJECTS / oid[:2] / oid[2:]
            if hash_md5(path) != oid.removesuffix(LISTING):
                path.unlink()
                altered.append(oid)
            advance(size)
    if altered:
        print_note(
            f"warning: {cache}: dropped {len(altered)} altered objects of DVC's cache: "
            f"{', '.join(altered)}; what they were is made anew"
        )
    if unknown or known.keys() != found.keys():
        _write_memory(cache, {oid: state for oid, state in found.items() if oid not in altered})


def remember_objects(root: Path) -> None:
    """Note the objects that a successful build has added, all of which DVC has hashed."""
    cache = _cache_folder(root)
    if cache is None:
        return
    known, found = _read_memory(cache), dict(_objects(cache))
    # What was known stays as it was: should it have changed meanwhile, it is hashed next time.
    if added := found.keys() - known.keys():
        _write_memory(cache, known | {oid: found[oid] for oid in added})


def _cache_folder(root: Path) -> Path | None:
    """Where DVC keeps its cache; None if there is none yet."""
    if not (root / ".dvc").is_dir():
        return None
    from dvc.config import Config

    folder = Path(Config(str(root / ".dvc"))["cache"].get("dir") or root / ".dvc" / "cache")
    return folder if (folder / OBJECTS).is_dir() else None


def _objects(cache: Path) -> Iterator[tuple[str, _State]]:
    for path in (cache / OBJECTS).glob("??/*"):
        # Others are being written.
        if _OBJECT.fullmatch(path.name):
            state = path.stat()
            yield path.parent.name + path.name, (state.st_size, state.st_mtime_ns, state.st_ino)


def _read_memory(cache: Path) -> dict[str, _State]:
    try:
        memory = json.loads((cache / _MEMORY).read_bytes())
        return {oid: (size, date, inode) for oid, (size, date, inode) in memory.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        # Whatever is there: all is hashed, and the file written anew.
        return {}


def _write_memory(cache: Path, memory: dict[str, _State]) -> None:
    write_text(cache / _MEMORY, json.dumps(memory, separators=(",", ":")))
