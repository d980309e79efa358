"""Restoring from the shared cache what another machine has built.

DVC decides what is restored and how; what is transferred, and whether it is right, is
decided here: `dvc pull` trusts that an object is what its name says, that a folder's files are
there where its list is, and that a note of a run tells the truth.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from ptefoundry.files import write_bytes

from .dvc_work import opened_for_work
from .output import print_note
from .shared_damage import note_damaged
from .shared_runs import (
    Entry,
    below_cache,
    cache_top,
    drop_run,
    objects_of,
    read_run,
    recorded_run,
    run_key,
    runs_by_key,
    sorted_stages,
    take_present_inputs,
    with_files,
)
from .shared_store import LISTING, OBJECTS, RUNS, DamagedError, Wanted, object_name, open_store
from .stage_output import Result, StageListener


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
    with opened_for_work(root) as repo:
        restorer = _Restorer(repo, listener)
        stages = sorted_stages(repo, targets)
        restorer.fetch_recorded(stages)
        for stage in stages:
            restorer.restore(stage)
        restorer.tell_damaged(root)


class ToldOnce:
    """Passes on what a build does in several steps, without what is unchanged since one before."""

    def __init__(self, listener: StageListener) -> None:
        """Listens during all steps."""
        self._listener = listener
        self._told: set[str] = set()
        self.started, self.progressed, self.said, self.measured = (
            listener.started,
            listener.progressed,
            listener.said,
            listener.measured,
        )

    def finished(self, stage: str, result: Result, seconds: float) -> None:
        """See `StageListener`."""
        if result == "unchanged" and stage in self._told:
            return
        self._told.add(stage)
        self._listener.finished(stage, result, seconds)


class _Restorer:
    """Restores stages of an opened workspace, in the order of the graph."""

    def __init__(self, repo: Any, listener: StageListener) -> None:
        self._repo, self._store, self._listener = repo, open_store(repo), listener
        self._cache = cache_top(repo) / OBJECTS
        self._noted = self._store.list_files(RUNS)
        """Runs in the store."""
        # The latest first: what is measured differs between runs of the same inputs, and a
        # bundle of measurements that nobody had together would have to be assembled.
        latest = sorted(self._noted, key=lambda name: (-self._noted[name].modified, name))
        self._runs = defaultdict(list, runs_by_key(latest))
        self._left: set[str] = set()
        """Stages that will have to run."""
        self._damaged: dict[str, None] = {}

    def fetch_recorded(self, stages: Sequence[Any]) -> None:
        """Fetch the outputs of all stages at once whose inputs are those of dvc.lock."""
        current = [stage for stage in stages if not self._is_changed(stage, allow_missing=True)]
        self._fetch([entry for stage in current if (entry := recorded_run(stage))])

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

    def tell_damaged(self, root: Path) -> None:
        """Tell the user, and the next push, what is damaged in the store."""
        if self._damaged:
            names = "\n  ".join(self._damaged)
            print_note(
                f"warning: shared cache {self._store.url}: gone, without its outputs or not what "
                f"its name says, so it is not used; `ptefoundry build --push` mends it:\n  {names}"
            )
            note_damaged(root, self._damaged)

    def _bring_run(self, stage: Any, *, is_recorded: bool) -> bool:
        """Have a run of the stage with its present inputs, and all outputs, in DVC's cache."""
        from dvc.stage.cache import RunCacheNotFoundError

        if is_recorded:
            entry = recorded_run(stage)
            if entry is None:
                return False
            self._fetch([entry])
        elif not self._bring_noted_run(stage):
            return False
        try:
            self._repo.stage_cache.restore(stage, dry=True)
        except RunCacheNotFoundError:
            return False
        return True

    def _bring_noted_run(self, stage: Any) -> bool:
        """Find a run in the run cache, here or in the store, whose outputs can all be had."""
        take_present_inputs(stage)
        key = run_key(stage)
        if key is None:
            return False
        here = [f"{RUNS}/{key[:2]}/{key}/{path.name}" for path in self._local_runs(key)]
        return any(self._bring_outputs(name) for name in dict.fromkeys([*here, *self._runs[key]]))

    def _local_runs(self, key: str) -> list[Path]:
        folder = cache_top(self._repo) / RUNS / key[:2] / key
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def _bring_outputs(self, name: str) -> bool:
        """Have a run and its outputs here, as the one that DVC takes; a useless one is dropped."""
        path = cache_top(self._repo) / name
        entry = self._bring_note(name, path)
        if entry is not None:
            self._fetch([entry])
            objects = objects_of(entry, self._cache)
            if all((self._cache / below_cache(oid)).is_file() for oid in objects):
                # Of several DVC takes the newest.
                path.touch()
                return True
        drop_run(path)
        if name in self._noted:
            self._damaged[name] = None
        return False

    def _bring_note(self, name: str, path: Path) -> Entry | None:
        """The note of a run, from here or else from the store; None if it is damaged."""
        if path.is_file() and (entry := read_run(name, path.read_bytes())) is not None:
            return entry
        if name not in self._noted:
            return None
        try:
            content = self._store.read(name)
        except DamagedError:
            return None
        entry = read_run(name, content)
        if entry is not None:
            write_bytes(path, content)
        return entry

    def _fetch(self, entries: Iterable[Entry]) -> None:
        """Bring the outputs of runs, first the lists of folders, then all files."""
        outputs = [out["md5"] for entry in entries for out in entry.get("outs", ())]
        self._fetch_objects(oid for oid in outputs if oid.endswith(LISTING))
        self._fetch_objects(oid for out in outputs for oid in with_files(out, self._cache))

    def _fetch_objects(self, oids: Iterable[str]) -> None:
        wanted = [
            Wanted(
                name=object_name(oid),
                target=self._cache / below_cache(oid),
                md5=oid.removesuffix(LISTING),
            )
            for oid in dict.fromkeys(oids)
            if not (self._cache / below_cache(oid)).is_file()
            and object_name(oid) not in self._damaged
        ]
        for one in self._store.fetch(wanted):
            self._damaged[one.name] = None

    def _is_changed(self, stage: Any, *, allow_missing: bool) -> bool:
        before = list(self._repo.index.graph.successors(stage))
        changed: bool = stage.changed(allow_missing, before)
        return changed
