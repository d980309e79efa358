"""Runs of stages as DVC notes them, in dvc.lock and in its run cache, and their objects.

The run cache is a folder beside DVC's objects, and the same in a store:

    runs/<2 digits>/<key>/<value>

`key` is a digest of what went into a run, `value` of that and of what came out. DVC believes
whatever it finds there; here a note counts only if its name is the digest of what it says.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .shared_store import LISTING, RUNS

Entry = Mapping[str, Any]
"""A run: its command, the digests of what went in and came out."""


def sorted_stages(repo: Any, targets: Collection[str]) -> list[Any]:
    """Stages of a `dvc.repo.Repo` in the order in which DVC runs them.

    Args:
        repo: of the workspace.
        targets: stages by name, with all that they need; none for everything.
    """
    from dvc.repo.reproduce import plan_repro

    graph = repo.index.graph
    wanted = [stage for stage in graph if stage.addressing in targets] if targets else None
    stages: list[Any] = plan_repro(graph, wanted)
    return stages


def recorded_run(stage: Any) -> Entry | None:
    """What dvc.lock has of a stage; None if it never ran."""
    from dvc.stage.serialize import to_single_stage_lockfile

    if not stage.outs or not all(out.hash_info for out in stage.outs):
        return None
    entry: Entry = to_single_stage_lockfile(stage)
    return entry


def take_present_inputs(stage: Any) -> None:
    """Let a stage be of the inputs that it has now, of which nothing came yet.

    As long as it has outputs on record, DVC takes them for what comes of its inputs.
    """
    from dvc_data.hashfile.hash_info import HashInfo

    stage.save_deps()
    for out in stage.outs:
        out.hash_info = HashInfo()


def run_key(stage: Any) -> str | None:
    """The key of runs with a stage's present inputs; None where DVC keeps no runs of it."""
    from dvc.stage.cache import _can_hash, _get_stage_hash

    return str(_get_stage_hash(stage)) if _can_hash(stage) else None


def read_run(name: str, content: bytes) -> Entry | None:
    """The run that a file of the run cache notes; None unless it is what its name says."""
    from dvc.schema import COMPILED_LOCK_FILE_STAGE_SCHEMA
    from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml
    from voluptuous import Invalid

    _, _, key, value = name.split("/")
    try:
        entry = COMPILED_LOCK_FILE_STAGE_SCHEMA(parse_yaml(content.decode(), name))
    except (YAMLFileCorruptedError, Invalid, UnicodeDecodeError):
        return None
    return entry if _digests(entry) == (key, value) else None


def drop_run(path: Path) -> None:
    """Remove a note from the run cache of this machine, if it is there."""
    path.unlink(missing_ok=True)
    # DVC fails with a TypeError where a key has a folder and no run.
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()


def runs_by_key(files: Iterable[str]) -> dict[str, list[str]]:
    """Key -> the files in a store or a cache that note its runs."""
    found: dict[str, list[str]] = {}
    for name in files:
        parts = name.split("/")
        if len(parts) == 4:
            found.setdefault(parts[2], []).append(name)
    return found


def recorded_run_files(repo: Any) -> Iterator[tuple[Path, str]]:
    """Notes in the run cache of the runs that dvc.lock has, and their names in a store.

    Of what was recorded elsewhere and never was here there are none.
    """
    for stage in sorted_stages(repo, ()):
        entry = recorded_run(stage)
        if entry is not None and (path := cache_top(repo) / _run_name(entry)).is_file():
            yield path, _run_name(entry)


def _run_name(entry: Entry) -> str:
    key, value = _digests(entry)
    return f"{RUNS}/{key[:2]}/{key}/{value}"


def _digests(entry: Entry) -> tuple[str, str]:
    from dvc.stage.cache import _get_cache_hash

    # It changes what it is given.
    return _get_cache_hash(dict(entry), key=True), _get_cache_hash(dict(entry))


def cache_top(repo: Any) -> Path:
    """DVC's cache, with objects and runs below it."""
    return Path(repo.cache.local.path).parent.parent


def objects_of(entry: Entry, objects: Path) -> Iterator[str]:
    """Names of the objects that a run made, as far as they are known here.

    Args:
        entry: the run.
        objects: DVC's cache of objects, which may have the lists of folders.
    """
    for out in entry.get("outs", ()):
        yield from with_files(out["md5"], objects)


def with_files(oid: str, objects: Path) -> Iterator[str]:
    """An object and before it the files that it lists, if the list is here."""
    path = objects / below_cache(oid)
    if oid.endswith(LISTING) and path.is_file():
        for file in json.loads(path.read_bytes()):
            yield file["md5"]
    yield oid


def below_cache(oid: str) -> str:
    """Path of an object in DVC's cache of objects."""
    return f"{oid[:2]}/{oid[2:]}"
