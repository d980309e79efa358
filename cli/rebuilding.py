"""Building a bundle again from its record, and comparing."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptefoundry.bundle.manifest import MANIFEST_FILE, MEASURED_FILE, load_manifest
from ptefoundry.errors import ConfigError, InputError
from ptefoundry.lowering.store import workspace_stores
from ptefoundry.rebuild.compare import compare_files, list_files
from ptefoundry.rebuild.conditions import PLAIN, VARIED, Builder, Conditions
from ptefoundry.rebuild.difference import Difference
from ptefoundry.rebuild.record import BuildRecord, changed_inputs, first_different, read_record
from ptefoundry.rebuild.tree import bring_downloads, depth_below, make_tree
from ptefoundry.workspace import Workspace, cache_folder

from .changes import describe_changes
from .dvc_files import read_stages
from .output import print_note
from .rebuild_at_once import at_once, has_room
from .rebuild_places import RebuildPlace, rebuild_place

_LOCK = "dvc.lock"
_SIGNATURES = "signatures/"


@dataclass(frozen=True, kw_only=True)
class RebuildRequest:
    """What to build again and how."""

    bundle: Path
    vary: bool = False
    """Build twice, under conditions that differ."""
    independent: bool = False
    """Do so in containers, a fresh one for each build."""
    image: str | None = None
    """For containers; None for that of the Dockerfile."""
    use_templates: bool = False
    """Take program templates that are there instead of compiling them."""
    allow_other_toolchain: bool = False
    keep: Path | None = None
    """Where to leave what was built; None: removed."""


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """One build and how it compares."""

    name: str
    """Of the conditions."""
    root: Path
    seconds: float
    files: int
    """How many were compared."""
    bytes: int
    differences: tuple[Difference, ...]
    origins: tuple[str, ...]
    """Stages that made something else of the same inputs."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "seconds": round(self.seconds, 3),
            "files": self.files,
            "bytes": self.bytes,
            "differences": [one.to_dict() for one in self.differences],
            "origins": list(self.origins),
        }


def rebuild(workspace: Workspace, request: RebuildRequest) -> Iterator[Rebuilt]:
    """Build the bundle of a workspace again, without anything that was built before.

    Where the machine has room for them, builds in containers run at the same time.

    Yields:
        Each build as soon as it was compared, if they run one after the other; what it left is
        gone when the next is asked for.

    Raises:
        ConfigError: nothing was built here, or by another toolchain than this one.
        InputError: an input is no longer what the bundle was built of.
        FoundryError: a build failed; it has said why.
    """
    record = read_record(read_stages(workspace.root), where=str(workspace.root / _LOCK))
    load_manifest(request.bundle)
    with rebuild_place(
        record, workspace.root, containers=request.independent, image=request.image
    ) as place:
        _check_toolchain(record, place.toolchain, allow_other=request.allow_other_toolchain)
        chosen = VARIED if request.vary or request.independent else (PLAIN,)
        for group in _groups(chosen, request.bundle, place):
            print_note(f"building again, as {' and '.join(one.name for one in group)}")
            with ExitStack() as stack:
                builds = [
                    _prepare(
                        workspace,
                        record,
                        request,
                        conditions,
                        place,
                        stack.enter_context(_scratch(request.keep, conditions)),
                    )
                    for conditions in group
                ]
                yield from at_once(builds, place.stop) if place.stop else (builds[0](),)


def _groups(
    chosen: Sequence[Conditions], bundle: Path, place: RebuildPlace
) -> Sequence[Sequence[Conditions]]:
    """Those that run at the same time are together."""
    if place.stop is not None and has_room(len(chosen), _size(bundle, list_files(bundle))):
        return (chosen,)
    return [(conditions,) for conditions in chosen]


def _prepare(
    workspace: Workspace,
    record: BuildRecord,
    request: RebuildRequest,
    conditions: Conditions,
    place: RebuildPlace,
    scratch: Path,
) -> Callable[[], Rebuilt]:
    """A clean tree with what the build needs; returns what builds in it and compares.

    Files are written here alone, as writing one looks at the umask by changing it.
    """
    sources = [source["source"] for source in record.sources.values()]
    below = scratch.joinpath("tree", *["below"] * depth_below(sources))
    builder = place.builder(scratch)
    tree = make_tree(record, workspace.root, below / conditions.folder, place.toolchain)
    bring_downloads(record, cache_folder(), builder.downloads)
    if request.use_templates:
        _bring_templates(workspace, tree)
    return lambda: _rebuild(workspace, record, request.bundle, conditions, builder, tree)


def _rebuild(
    workspace: Workspace,
    record: BuildRecord,
    bundle: Path,
    conditions: Conditions,
    builder: Builder,
    tree: Workspace,
) -> Rebuilt:
    started = time.monotonic()
    builder.build(tree.root, conditions, record.fetches)
    _check_inputs(record, tree)
    builder.build(tree.root, conditions, ())
    names = _names_to_compare(bundle, tree.bundle)
    differences = compare_files(bundle, tree.bundle, names)
    runner = list_files(workspace.runner) if workspace.runner.is_dir() else set[str]()
    differences += compare_files(workspace.runner, tree.runner, runner, prefix="runner/")
    return Rebuilt(
        name=conditions.name,
        root=tree.root,
        seconds=time.monotonic() - started,
        files=len(names) + len(runner),
        bytes=_size(bundle, names) + _size(workspace.runner, runner),
        differences=tuple(differences),
        origins=tuple(first_different(record.stages, read_stages(tree.root))),
    )


def _check_toolchain(record: BuildRecord, current: Mapping[str, Any], *, allow_other: bool) -> None:
    same_sections = {name: current.get(name, {}) for name in record.toolchain}
    changes = describe_changes(record.toolchain, same_sections)
    if not changes:
        return
    text = "expected the toolchain that the bundle was built with, found another:\n  "
    text += "\n  ".join(changes)
    if not allow_other:
        raise ConfigError(
            f"{text}\ninstall what was recorded (an image is for --independent), or compare all "
            "the same with --allow-other-toolchain"
        )
    print_note(f"warning: {text}")


def _check_inputs(record: BuildRecord, tree: Workspace) -> None:
    if changed := changed_inputs(record.stages, read_stages(tree.root)):
        raise InputError(
            f"expected the inputs that the bundle was built of, found others: "
            f"{', '.join(changed)}; put the old ones back, or build the bundle of the new ones"
        )


def _names_to_compare(bundle: Path, rebuilt: Path) -> set[str]:
    """All files of both, or of a bundle that was pulled in part what is there."""
    own = {name for name in list_files(bundle) if not name.startswith(_SIGNATURES)}
    if _is_part(bundle, rebuilt):
        print_note(f"{bundle} is a part of a bundle, so its {MANIFEST_FILE} is not compared")
        return own - {MANIFEST_FILE, MEASURED_FILE}
    return (own | list_files(rebuilt)) - {MEASURED_FILE}


def _is_part(bundle: Path, rebuilt: Path) -> bool:
    here, there = (
        {(variant.backend, variant.adapter) for variant in load_manifest(folder).variants}
        for folder in (bundle, rebuilt)
    )
    return here < there


def _bring_templates(workspace: Workspace, tree: Workspace) -> None:
    target, _ = workspace_stores(tree.root)
    for store in workspace_stores(workspace.root):
        for key in store.keys():  # noqa: SIM118  no dict
            shutil.copytree(store.folder / key, target.folder / key, dirs_exist_ok=True)


@contextmanager
def _scratch(keep: Path | None, conditions: Conditions) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="ptefoundry-rebuild-") as name:
            yield Path(name).resolve()
        return
    folder = keep.resolve() / conditions.name
    if folder.exists():
        raise ConfigError(f"--keep: expected no {folder} yet, found one; name another folder")
    folder.mkdir(parents=True)
    yield folder


def _size(folder: Path, names: Sequence[str] | set[str]) -> int:
    return sum((folder / name).stat().st_size for name in names if (folder / name).is_file())
