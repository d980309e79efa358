"""Restoring from the shared cache what another machine has built, and giving it what this one has.

DVC decides what is restored and how; what is transferred, and whether it is right, is
decided here: `dvc pull` trusts that an object is what its name says, and that a folder's
files are there where its list is, and `dvc push` never sends again what it believes to be there.
"""

import json
import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptefoundry.files import write_bytes

from .dvc_files import check_dvc
from .graph import opened
from .output import print_note
from .shared_store import (
    LISTING,
    RUNS,
    DamagedError,
    StoredFile,
    Wanted,
    object_name,
    open_store,
)
from .stage_output import Result, StageListener

Entry = Mapping[str, Any]
"""What DVC notes of a run of a stage, in dvc.lock and in the run cache."""

_DAMAGED = Path(".dvc") / "tmp" / "ptefoundry-shared-cache-damaged"
"""Objects that were found damaged in the store, one name in a line, to be sent anew."""


def restore_stages(root: Path, targets: Collection[str], listener: StageListener) -> None:
    """Bring stages up to date that ran with the same inputs elsewhere; nothing is run.

    What the shared cache lacks, or has damaged, is left to be built.

    Args:
        root: the workspace.
        targets: stages, with all that they need; none for everything.
        listener: is told of each stage that was restored.

    Raises:
        ConfigError: there is no shared cache.
        StoreError: it cannot be read.
        DiskFullError: there is no room for what it has.
    """
    with _opened_for_work(root) as repo:
        restorer = _Restorer(repo, listener)
        stages = _stages(repo, targets)
        restorer.fetch_recorded(stages)
        for stage in stages:
            restorer.restore(stage)
        restorer.note_damaged(root / _DAMAGED)


class WithoutRestored:
    """Passes on what a build does after stages were restored, without that they are unchanged."""

    def __init__(self, listener: StageListener) -> None:
        """Listens during both."""
        self._listener = listener
        self._restored: set[str] = set()
        self.started, self.progressed, self.said = (
            listener.started,
            listener.progressed,
            listener.said,
        )

    def finished(self, stage: str, result: Result, seconds: float) -> None:
        """See `StageListener`."""
        if result == "unchanged" and stage in self._restored:
            return
        if result == "cached":
            self._restored.add(stage)
        self._listener.finished(stage, result, seconds)


def push_stages(root: Path) -> tuple[int, int]:
    """Give the shared cache what the workspace has built, as far as it lacks it.

    Objects of another size or content than ours are replaced. Runs come last, so that
    nobody finds a run without its outputs.

    Returns:
        Number of files sent, and their bytes.

    Raises:
        ConfigError: there is no shared cache.
        StoreError: it cannot be written.
    """
    with _opened_for_work(root) as repo:
        store, cache = open_store(repo), _cache_folder(repo)
        there = store.list_files("")
        damaged = _read_damaged(root / _DAMAGED)
        entries = [entry for stage in _stages(repo, ()) if (entry := _recorded(stage))]
        objects = dict.fromkeys(oid for entry in entries for oid in _objects(entry, cache))
        names = [(cache / _below_cache(oid), object_name(oid)) for oid in objects]
        lacking = [
            (path, name)
            for path, name in names
            if path.is_file() and (name in damaged or not _is_right(path, name, there.get(name)))
        ]
        # Lists of folders after the files that they name.
        files = [one for one in lacking if not one[1].endswith(LISTING)]
        lists = [one for one in lacking if one[1].endswith(LISTING)]
        runs = [one for one in _run_files(repo) if one[1] not in there]
        sent = sum(store.send(part) for part in (files, lists, runs))
    (root / _DAMAGED).unlink(missing_ok=True)
    return len(lacking) + len(runs), sent


class _Restorer:
    """Restores stages of an opened workspace, in the order of the graph."""

    def __init__(self, repo: Any, listener: StageListener) -> None:
        self._repo, self._store, self._listener = repo, open_store(repo), listener
        self._cache = _cache_folder(repo)
        self._runs = _runs_by_key(self._store.list_files(RUNS))
        self._left: set[str] = set()
        """Stages that will have to run."""
        self._damaged: dict[str, None] = {}

    def fetch_recorded(self, stages: Sequence[Any]) -> None:
        """Fetch the outputs of all stages at once whose inputs are those of dvc.lock."""
        current = [stage for stage in stages if not self._is_changed(stage, allow_missing=True)]
        self._fetch([entry for stage in current if (entry := _recorded(stage))])

    def restore(self, stage: Any) -> None:
        """Bring a stage up to date if its run is known.

        Stages that follow one that has to run are left: what it makes is not known yet.
        """
        before = {other.addressing for other in self._repo.index.graph.successors(stage)}
        if before & self._left or not self._is_current(stage):
            self._left.add(stage.addressing)

    def _is_current(self, stage: Any) -> bool:
        return not self._is_changed(stage, allow_missing=False) or self._bring_back(stage)

    def _bring_back(self, stage: Any) -> bool:
        started = time.monotonic()
        is_recorded = not self._is_changed(stage, allow_missing=True)
        if not self._bring_run(stage, is_recorded=is_recorded):
            return False
        self._listener.started(stage.addressing)
        # DVC finds the run in its cache, and executes nothing.
        stage.run()
        if not is_recorded:
            stage.dump(update_pipeline=False)
        self._listener.finished(stage.addressing, "cached", time.monotonic() - started)
        return True

    def note_damaged(self, path: Path) -> None:
        """Tell the user, and the next push, what is damaged in the store."""
        if self._damaged:
            names = "\n  ".join(self._damaged)
            print_note(
                f"warning: shared cache {self._store.url}: gone or not what its name says, so it "
                f"is built here; `ptefoundry build --push` mends it:\n  {names}"
            )
            lines = "".join(f"{name}\n" for name in {*_read_damaged(path), *self._damaged})
            write_bytes(path, lines.encode())

    def _bring_run(self, stage: Any, *, is_recorded: bool) -> bool:
        """Have a run of the stage with its present inputs, and all outputs, in DVC's cache."""
        from dvc.stage.cache import RunCacheNotFoundError

        runs = self._repo.stage_cache
        if is_recorded:
            entry = _recorded(stage)
        else:
            stage.save_deps()
            self._fetch_run(stage)
            entry = runs._load(stage)
        if entry is None:
            return False
        self._fetch([entry])
        try:
            runs.restore(stage, dry=True)
        except RunCacheNotFoundError:
            return False
        return True

    def _fetch_run(self, stage: Any) -> None:
        """Bring the store's note of a run with the stage's present inputs, if it has one."""
        from dvc.stage.cache import _get_stage_hash

        for name in self._runs.get(_get_stage_hash(stage), ()):
            target = self._cache.parent.parent / name
            if target.is_file():
                continue
            try:
                write_bytes(target, self._store.read(name))
            except DamagedError:
                self._damaged[name] = None

    def _fetch(self, entries: Iterable[Entry]) -> None:
        """Bring the outputs of runs, first the lists of folders, then all files."""
        outputs = [out["md5"] for entry in entries for out in entry.get("outs", ())]
        self._fetch_objects(oid for oid in outputs if oid.endswith(LISTING))
        self._fetch_objects(oid for out in outputs for oid in _with_files(out, self._cache))

    def _fetch_objects(self, oids: Iterable[str]) -> None:
        wanted = [
            Wanted(
                name=object_name(oid),
                target=self._cache / _below_cache(oid),
                md5=oid.removesuffix(LISTING),
            )
            for oid in dict.fromkeys(oids)
            if not (self._cache / _below_cache(oid)).is_file()
            and object_name(oid) not in self._damaged
        ]
        for one in self._store.fetch(wanted):
            self._damaged[one.name] = None

    def _is_changed(self, stage: Any, *, allow_missing: bool) -> bool:
        before = list(self._repo.index.graph.successors(stage))
        changed: bool = stage.changed(allow_missing, before)
        return changed


@contextmanager
def _opened_for_work(root: Path) -> Iterator[Any]:
    """A workspace that no other DVC command works in; DVC says nothing by itself."""
    check_dvc(root)
    import dvc.logger  # noqa: F401  sets levels when it is imported

    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with opened(root) as repo, repo.lock:
            yield repo
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _stages(repo: Any, targets: Collection[str]) -> list[Any]:
    """Stages in the order in which DVC runs them."""
    from dvc.repo.reproduce import plan_repro

    graph = repo.index.graph
    wanted = [stage for stage in graph if stage.addressing in targets] if targets else None
    stages: list[Any] = plan_repro(graph, wanted)
    return stages


def _recorded(stage: Any) -> Entry | None:
    """What dvc.lock has of a stage; None if it never ran."""
    from dvc.stage.serialize import to_single_stage_lockfile

    if not stage.outs or not all(out.hash_info for out in stage.outs):
        return None
    entry: Entry = to_single_stage_lockfile(stage)
    return entry


def _runs_by_key(files: Iterable[str]) -> dict[str, list[str]]:
    """Key of a run -> the files in the store that note it; `runs/<2>/<key>/<value>`."""
    found: dict[str, list[str]] = {}
    for name in files:
        parts = name.split("/")
        if len(parts) == 4:
            found.setdefault(parts[2], []).append(name)
    return found


def _run_files(repo: Any) -> Iterator[tuple[Path, str]]:
    """Notes of the runs that the stages of dvc.lock came from, and their names in a store."""
    from dvc.stage.cache import _can_hash, _get_cache_hash, _get_stage_hash

    top = _cache_folder(repo).parent.parent
    for stage in _stages(repo, ()):
        entry = _recorded(stage)
        if entry is None or not _can_hash(stage):
            continue
        key, value = _get_stage_hash(stage), _get_cache_hash(dict(entry))
        name = f"{RUNS}/{key[:2]}/{key}/{value}"
        if (top / name).is_file():
            yield top / name, name


def _objects(entry: Entry, cache: Path) -> Iterator[str]:
    for out in entry.get("outs", ()):
        yield from _with_files(out["md5"], cache)


def _with_files(oid: str, cache: Path) -> Iterator[str]:
    """An object and before it the files that it lists, if the list is here."""
    path = cache / _below_cache(oid)
    if oid.endswith(LISTING) and path.is_file():
        for file in json.loads(path.read_bytes()):
            yield file["md5"]
    yield oid


def _is_right(path: Path, name: str, stored: StoredFile | None) -> bool:
    """Whether the store has our object, as far as it tells."""
    if stored is None or stored.size != path.stat().st_size:
        return False
    _, _, folder, rest = name.split("/")
    return stored.md5 in (None, f"{folder}{rest}".removesuffix(LISTING))


def _cache_folder(repo: Any) -> Path:
    """DVC's cache of objects: `<cache>/files/md5`."""
    return Path(repo.cache.local.path)


def _below_cache(oid: str) -> str:
    return f"{oid[:2]}/{oid[2:]}"


def _read_damaged(path: Path) -> set[str]:
    return set(path.read_text().splitlines()) if path.is_file() else set()
