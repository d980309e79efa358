"""Running the stages of a build in a container."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from ptefoundry.container.code import code_mount
from ptefoundry.container.engine import Engine, connect
from ptefoundry.container.image import Image, build_image, find_built_image, find_image
from ptefoundry.container.job import Job, Mount
from ptefoundry.container.recipe import usual_recipe
from ptefoundry.errors import ContainerError
from ptefoundry.params import Params
from ptefoundry.report import progress
from ptefoundry.workspace import cache_folder

from .container_environment import build_environment, fetch_environment, fetch_mounts
from .container_mounts import forget_locks, workspace_environment, workspace_mounts
from .dvc_files import check_dvc
from .exclusion import alone
from .graph import plan_stages, stages_behind
from .output import print_note
from .repro import conclude, follow, open_log, signals_interrupt
from .stage_output import Result, StageListener, StageReader

_MODULE = "ptefoundry.cli.in_container"
#: Stages that need the network where their source is no local one, and what they begin with.
_FETCH_BASE, _FETCH_ADAPTER = "fetch-base", "fetch-remote-adapter@"
_LOCAL = "file:"
_INTERRUPTED = 130


@dataclass(frozen=True)
class ContainerImage:
    """An image that has what stages need, an engine that runs it, and ptefoundry's code for it."""

    engine: Engine
    image: Image
    code: Mount

    def toolchain(self) -> dict[str, Any]:
        """What toolchain.json has to say for builds in it.

        Raises:
            ContainerError: ptefoundry does not run in it.
        """
        job = Job(
            command=("python", "-m", _MODULE, "toolchain"),
            folder=Path("/"),
            purpose="toolchain",
            mounts=(self.code,),
            environment=build_environment(self.image),
        )
        with self.engine.running(self.image.id, job) as running:
            lines = list(running.lines())
            code = running.wait()
        if code != 0:
            text = "\n".join(lines)
            raise ContainerError(
                f"image {self.image.id}: ptefoundry does not run in it; build it from the "
                f"Dockerfile of this version. It says:\n{text}"
            )
        toolchain: dict[str, Any] = json.loads(lines[-1])
        return toolchain


@contextmanager
def container_image(name: str | None) -> Iterator[ContainerImage]:
    """An image to build in.

    Args:
        name: an image that the engine has; None for that of the Dockerfile.

    Raises:
        MissingToolError: there is no engine.
        ContainerError: there is no such image, or building it failed.
    """
    cache = cache_folder()
    with connect() as engine:
        image = find_image(engine, name, cache) if name else _usual_image(engine, cache)
        with code_mount(cache / "container") as code:
            yield ContainerImage(engine, image, code)


@contextmanager
def container_place(root: Path, params: Params, name: str | None) -> Iterator["InContainer"]:
    """A place to build in a container.

    Args:
        root: the workspace.
        params: its params.yaml.
        name: as of `container_image`.

    Raises:
        MissingToolError: there is no engine.
        ContainerError: there is no such image, or building it failed.
    """
    check_dvc(root)
    with signals_interrupt(), container_image(name) as inside:
        job = Job(
            command=(),
            folder=root,
            purpose=f"build {root}",
            mounts=(*workspace_mounts(root, params), inside.code),
            environment={**build_environment(inside.image), **workspace_environment(root)},
        )
        yield InContainer(root, params, inside, job)


class InContainer:
    """The stages run in a container, without network but for fetching."""

    def __init__(
        self, root: Path, params: Params, inside: ContainerImage, surroundings: Job
    ) -> None:
        """Use `container_place` instead; `surroundings` is a job without a command."""
        self._root, self._params = root, params
        self._inside = inside
        self._surroundings = surroundings
        self._toolchain: dict[str, Any] | None = None

    def toolchain(self) -> Mapping[str, Any]:
        """See `BuildPlace`."""
        if self._toolchain is None:
            self._toolchain = self._inside.toolchain()
        return self._toolchain

    def run_stages(self, targets: Sequence[str], listener: StageListener, *, verbose: bool) -> None:
        """See `BuildPlace`."""
        fetched = self._stages_to_fetch(targets)
        with alone(self._root), open_log(self._root) as log:
            # Whoever started them is gone, as the workspace is ours.
            self._inside.engine.remove_jobs(self._surroundings.purpose)
            forget_locks(self._root)
            if fetched:
                reader = StageReader(listener, verbose=verbose)
                self._repro(fetched, reader, log, network=True)
            reader = StageReader(_Rest(listener, without=fetched), verbose=verbose)
            self._repro(targets, reader, log, network=False)

    def _sources(self) -> list[str]:
        adapters = self._params.adapters.values()
        return [self._params.base.source, *(adapter.source for adapter in adapters)]

    def _stages_to_fetch(self, targets: Sequence[str]) -> list[str]:
        """Those that will run, of the ones that need the network."""
        adapters = self._params.adapters.items()
        remote = [_FETCH_ADAPTER + name for name, one in adapters if _is_remote(one.source)]
        if _is_remote(self._params.base.source):
            remote.insert(0, _FETCH_BASE)
        if not remote:
            return []
        wanted = stages_behind(self._root, targets)
        planned = plan_stages(self._root, self.toolchain())
        stale = {stage.name for stage in planned if stage.would_run}
        return [stage for stage in remote if stage in wanted & stale]

    def _repro(
        self, targets: Sequence[str], reader: StageReader, log: TextIO, *, network: bool
    ) -> None:
        job = self._job("repro", *targets, network=network)
        with self._inside.engine.running(self._inside.image.id, job) as running:
            follow(running.lines(), reader, log)
            code = running.wait()
        if code == _INTERRUPTED:
            raise ContainerError("the container was stopped from outside; run again to go on")
        log.flush()
        conclude(self._root, reader, succeeded=code == 0)

    def _job(self, *arguments: str, network: bool = False) -> Job:
        job = replace(
            self._surroundings, command=("python", "-m", _MODULE, *arguments), network=network
        )
        if not network:
            return job
        return replace(
            job,
            environment={**job.environment, **fetch_environment(self._sources())},
            mounts=(*job.mounts, *fetch_mounts()),
        )


class _Rest:
    """Passes on what happens, but for stages that were brought up to date before."""

    def __init__(self, listener: StageListener, *, without: Sequence[str]) -> None:
        self._listener = listener
        self._without = frozenset(without)
        self.started, self.progressed, self.said, self.measured = (
            listener.started,
            listener.progressed,
            listener.said,
            listener.measured,
        )

    def finished(self, stage: str, result: Result, seconds: float) -> None:
        if not (result == "unchanged" and stage in self._without):
            self._listener.finished(stage, result, seconds)


def _is_remote(source: str) -> bool:
    return not source.startswith(_LOCAL)


def _usual_image(engine: Engine, cache: Path) -> Image:
    recipe = usual_recipe(os.environ)
    if found := find_built_image(engine, recipe, cache):
        return found
    print_note("building the image, once for these packages (minutes)")
    with progress("image", None, unit="steps") as advance:
        return build_image(
            engine, recipe, cache, lambda line: advance(int(line.startswith("Step: ")))
        )
