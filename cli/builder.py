"""A build from its preparation to its end."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptefoundry.errors import BuildError, ConfigError
from ptefoundry.graph import GRAPH_FILE, sync_graph
from ptefoundry.params import Params, load_params
from ptefoundry.report import ASSEMBLE_VARIABLE
from ptefoundry.toolchain import TOOLCHAIN_FILE, pin_toolchain
from ptefoundry.workspace import Workspace

from .build_place import BuildPlace, build_place
from .changes import describe_changes
from .display import LiveDisplay, PlainDisplay, StageResult
from .leftovers import remove_leftovers
from .local_cache import drop_altered_files, remember_files
from .output import print_note
from .shared_cache import ToldOnce, restore_stages
from .shared_push import push_stages
from .stage_output import StageListener
from .targets import XNNPACK, find_targets
from .template_source import stages_before_templates, take_templates, template_registry


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What to build and how to show it."""

    backends: Sequence[str] = ()
    adapters: Sequence[str] = ()
    only: Sequence[str] = ()
    """Stages by name."""
    locked: bool = False
    """Refuse another toolchain than the pinned one instead of pinning this one."""
    container: bool = False
    """Run the stages in a container."""
    image: str | None = None
    """The image for it; None for that of the Dockerfile."""
    assemble: bool = False
    """Run no stage but the bundle's."""
    pull: bool = False
    """Restore from the shared cache what was built elsewhere."""
    push: bool = False
    """Give the shared cache what it lacks, once everything is built."""
    live: bool = False
    verbose: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a build did."""

    stages: tuple[StageResult, ...]
    seconds: float
    bundle: Path | None
    """None if only a part was asked for or the build failed."""
    failure: BuildError | None = None

    def count(self, result: str) -> int:
        """Number of stages with that result."""
        return sum(stage.result == result for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "stages": [stage.to_dict() for stage in self.stages],
            "bundle": None if self.bundle is None else str(self.bundle),
            "seconds": round(self.seconds, 3),
            "error": None if self.failure is None else str(self.failure),
        }


def build_workspace(workspace: Workspace, request: BuildRequest) -> Outcome:
    """Make everything that changed, or the part that was asked for.

    A failure of a stage is in the outcome, so that it can be told with what was done.

    Raises:
        ConfigError: params.yaml is wrong, or the toolchain is not the pinned one.
    """
    started = time.monotonic()
    params = load_params(workspace.root)
    variants = find_targets(params, backends=request.backends, adapters=request.adapters)
    targets = (*variants, *request.only)
    if request.assemble:
        # For all stages, wherever they run.
        os.environ[ASSEMBLE_VARIABLE] = "1"
    failure = None
    display = _make_display(workspace.root, live=request.live)
    with build_place(
        workspace.root, params, container=request.container, image=request.image
    ) as place:
        _prepare(workspace, place, locked=request.locked, everything=not targets)
        listener = ToldOnce(display)
        with display.open():
            try:
                if request.pull:
                    restore_stages(workspace.root, targets, listener)
                _take_templates(workspace, params, request, place, listener)
                place.run_stages(targets, listener, verbose=request.verbose)
            except BuildError as error:
                failure = error
    if failure is None:
        remember_files(workspace.root)
    if request.push and failure is None:
        _push(workspace)
    return Outcome(
        stages=tuple(display.results),
        seconds=time.monotonic() - started,
        bundle=None if targets or failure else workspace.bundle,
        failure=failure,
    )


def restore_workspace(workspace: Workspace, place: BuildPlace, *, live: bool) -> None:
    """Take from the shared cache all that a build there would; nothing is run or removed.

    Raises:
        ConfigError: params.yaml is wrong, or there is no shared cache.
        StoreError: it cannot be read.
        DiskFullError: there is no room for what it has.
    """
    display = _make_display(workspace.root, live=live)
    _prepare(workspace, place, locked=False, everything=False)
    with display.open():
        restore_stages(workspace.root, (), display)


def _make_display(root: Path, *, live: bool) -> PlainDisplay:
    return LiveDisplay(root) if live else PlainDisplay(root)


def _take_templates(
    workspace: Workspace,
    params: Params,
    request: BuildRequest,
    place: BuildPlace,
    listener: StageListener,
) -> None:
    """Let the registry that the workspace names save the build from compiling."""
    address = template_registry(params)
    compiles = XNNPACK in (request.backends or (XNNPACK,))
    if address is None or request.only or request.assemble or not compiles:
        return
    if first := stages_before_templates(workspace, place.toolchain()):
        place.run_stages(first, listener, verbose=request.verbose)
    take_templates(workspace, place.toolchain(), address)


def _push(workspace: Workspace) -> None:
    pushed = push_stages(workspace.root)
    print_note(f"shared cache: sent {pushed.bytes:,} bytes in {pushed.files} files")
    if pushed.removed:
        print_note(f"shared cache: removed {pushed.removed} damaged files")


def _prepare(workspace: Workspace, place: BuildPlace, *, locked: bool, everything: bool) -> None:
    """Have the workspace say what is built and by what, with nothing in it that is no output."""
    _settle_toolchain(workspace.root, place.toolchain(), locked=locked)
    if sync_graph(workspace.root):
        print_note(f"{GRAPH_FILE} now follows params.yaml")
    if everything:
        # Before the build: the bundle depends on all smoke results that there are.
        for path in remove_leftovers(workspace, load_params(workspace.root)):
            print_note(f"removed {path.relative_to(workspace.root)}: its adapter is gone")
    drop_altered_files(workspace.root)


def _settle_toolchain(root: Path, current: Mapping[str, Any], *, locked: bool) -> None:
    """Make toolchain.json say what builds, or refuse."""
    pinned = _pinned_toolchain(root)
    changes = describe_changes(pinned, current)
    if changes and locked:
        raise ConfigError(
            f"{root / TOOLCHAIN_FILE}: --locked: this installation is not the pinned toolchain:\n  "
            + "\n  ".join(changes)
            + "\ninstall the pinned versions, or build without --locked"
        )
    if changes:
        pin_toolchain(root, current)
        print_note(f"{TOOLCHAIN_FILE} now pins this installation")
        if pinned:
            print_note("\n".join(f"  {change}" for change in changes))


def _pinned_toolchain(root: Path) -> dict[str, Any]:
    try:
        pinned: dict[str, Any] = json.loads((root / TOOLCHAIN_FILE).read_text())
    except (FileNotFoundError, ValueError):
        # A damaged file is refused when it is brought up to date.
        return {}
    return pinned
