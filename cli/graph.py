"""The build graph as DVC sees it: which stages would run, and why.

Builds run DVC as a program; here it is a library.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptefoundry.errors import BuildError
from ptefoundry.toolchain import TOOLCHAIN_FILE

from .changes import describe_changes
from .dvc_files import check_dvc
from .dvc_parsing import parsed_once

REDEFINED = "its command changed"
"""Reason of a stage that dvc.yaml defines otherwise than when it ran last."""


class GraphError(BuildError):
    """DVC cannot make sense of dvc.yaml."""


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """A stage of the graph and what a build would do with it."""

    name: str
    description: str
    reasons: tuple[str, ...]
    """What of its own changed since it ran last."""
    after: tuple[str, ...]
    """Stages before it that would run, so that its inputs may change."""

    @property
    def would_run(self) -> bool:
        """Whether a build would run it, or restore it from the cache."""
        return bool(self.reasons or self.after)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "would_run": self.would_run}


def plan_stages(root: Path, toolchain: Mapping[str, Any]) -> tuple[PlannedStage, ...]:
    """All stages of a workspace in the order that a build looks at them.

    Args:
        root: the workspace.
        toolchain: what toolchain.json will say when the build starts.

    Raises:
        ConfigError: the workspace is no DVC repository.
        GraphError: DVC cannot read the graph.
        BuildError: another build holds its lock.
    """
    with opened(root) as repo:
        from dvc.repo.reproduce import plan_repro

        status, graph = repo.status(), repo.index.graph
        planned: list[PlannedStage] = []
        running: list[Any] = []
        # As DVC orders them: each after all that it depends on.
        for stage in plan_repro(graph):
            before = [other for other in running if graph.has_edge(stage, other)]
            changes = status.get(stage.addressing, [])
            plan = PlannedStage(
                name=stage.addressing,
                description=stage.desc or "",
                reasons=tuple(_reasons(stage, changes, before, toolchain)),
                after=tuple(other.addressing for other in before),
            )
            planned.append(plan)
            if plan.would_run:
                running.append(stage)
    return tuple(planned)


def stages_behind(root: Path, targets: Collection[str]) -> set[str]:
    """Stages that some depend on, with themselves; all stages for no targets."""
    with opened(root) as repo:
        from dvc.repo.reproduce import plan_repro

        graph = repo.index.graph
        wanted = [stage for stage in graph if stage.addressing in targets] if targets else None
        return {stage.addressing for stage in plan_repro(graph, wanted)}


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Any]:
    """DVC's view of a workspace, with its errors turned into ours."""
    check_dvc(root)
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    try:
        # Stages are called by their plain name only from their own folder.
        with contextlib.chdir(root), parsed_once(), Repo(str(root)) as repo:
            yield repo
    except LockError as error:
        raise BuildError(
            f"{root}: a build or another DVC command is running here; wait for it and run again"
        ) from error
    except DvcException as error:
        raise GraphError(f"{root}: DVC cannot read the build graph: {error}") from error


def _reasons(
    stage: Any, status: list[Any], before: list[Any], toolchain: Mapping[str, Any]
) -> Iterator[str]:
    if not any(out.hash_info for out in stage.outs):
        yield "never built"
        return
    for dependency in stage.deps:
        if hasattr(dependency, "read_params"):
            yield from _changed_params(dependency, toolchain)
    to_come = [out.def_path for other in before for out in other.outs]
    for entry in status:
        if isinstance(entry, str):
            yield REDEFINED if entry == "changed command" else entry
        else:
            yield from _changed_files(entry, to_come)


def _changed_params(dependency: Any, toolchain: Mapping[str, Any]) -> Iterator[str]:
    """Differences between the parameters of the last run and those of the next."""
    built_with = dependency.hash_info.value or {}
    if dependency.def_path == TOOLCHAIN_FILE:
        current = {name: toolchain[name] for name in dependency.params if name in toolchain}
    else:
        current = dependency.read_params()
    for change in describe_changes(built_with, current):
        yield f"{dependency.def_path}: {change}"


def _changed_files(entry: Mapping[str, Any], to_come: list[str]) -> Iterator[str]:
    for path, state in entry.get("changed deps", {}).items():
        # Parameters were compared by value, and what a stage before it will make
        # anew says nothing now.
        if isinstance(state, str) and not any(_overlap(path, out) for out in to_come):
            yield f"{path}: {state}"
    for path, state in entry.get("changed outs", {}).items():
        yield f"its output {path}: {state}"


def _overlap(path: str, other: str) -> bool:
    return Path(path).is_relative_to(other) or Path(other).is_relative_to(path)
