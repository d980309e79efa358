"""Where a bundle is built again: on this machine as it is, or in fresh containers."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptefoundry.container.engine import connect
from ptefoundry.container.job import Job, Mount, same_place
from ptefoundry.rebuild.conditions import (
    DOWNLOADS,
    Builder,
    Conditions,
    HereBuilder,
    build_arguments,
    build_failed,
    build_program,
    own_caches,
)
from ptefoundry.rebuild.record import BuildRecord
from ptefoundry.toolchain import current_toolchain

from .container_environment import build_environment, fetch_environment, fetch_mounts
from .container_place import ContainerImage, container_image
from .repro import signals_interrupt

_LOCAL = "file:"


@dataclass(frozen=True)
class RebuildPlace:
    """A place with a toolchain, and what builds there below a scratch folder."""

    toolchain: Mapping[str, Any]
    builder: Callable[[Path], Builder]
    stop: Callable[[], None] | None = None
    """Ends all that is running there; None where builds do not run at the same time."""


@contextmanager
def rebuild_place(
    record: BuildRecord, original: Path, *, containers: bool, image: str | None
) -> Iterator[RebuildPlace]:
    """Where to build again.

    Args:
        record: what will be built.
        original: the workspace that was built.
        containers: in containers, a fresh one for each build.
        image: an image that the engine has; None for that of the Dockerfile.

    Raises:
        MissingToolError: there is no container engine.
        ContainerError: there is no such image, or building it failed.
    """
    if not containers:
        yield RebuildPlace(current_toolchain(), HereBuilder)
        return
    inputs = tuple(_absolute_inputs(record, original))
    sources = tuple(source["source"] for source in record.sources.values())
    with signals_interrupt(), container_image(image) as inside:
        fresh = _Containers(inside, inputs, sources)
        yield RebuildPlace(inside.toolchain(), fresh.builder, fresh.stop)


def _absolute_inputs(record: BuildRecord, original: Path) -> Iterator[Mount]:
    """Local sources that the tree has no copy of, as they are named by an absolute path."""
    for source in record.sources.values():
        path = source["source"].removeprefix(_LOCAL)
        if path != source["source"] and Path(path).is_absolute():
            yield same_place(original / path, read_only=True)


class _Containers:
    """A fresh container for each job, several at a time."""

    def __init__(
        self, inside: ContainerImage, inputs: Sequence[Mount], sources: Sequence[str]
    ) -> None:
        """All of them see the inputs; `sources` are what builds fetch."""
        self.inside = inside
        self.inputs = inputs
        self.sources = sources
        self._purposes: set[str] = set()

    def builder(self, scratch: Path) -> Builder:
        """What builds below a folder."""
        return _ContainerBuilder(scratch, self)

    def run(self, job: Job, name: str) -> int:
        """Show what a job prints, each line with that name; returns its exit code."""
        self._purposes.add(job.purpose)
        # A connection of its own, as other threads use theirs meanwhile.
        with connect() as engine, engine.running(self.inside.image.id, job) as running:
            for line in running.lines():
                print(f"{name}: {line}", file=sys.stderr, flush=True)
            return running.wait()

    def stop(self) -> None:
        """End all that was started and still runs."""
        for purpose in tuple(self._purposes):
            self.inside.engine.remove_jobs(purpose)


class _ContainerBuilder:
    """Builds in containers, without network but for fetching."""

    def __init__(self, scratch: Path, containers: _Containers) -> None:
        """Everything that is kept is below `scratch`, all of which the containers see."""
        self._scratch = scratch
        self._containers = containers

    @property
    def downloads(self) -> Path:
        """The cache of sources that builds use."""
        return self._scratch / DOWNLOADS

    def build(self, root: Path, conditions: Conditions, stages: Sequence[str]) -> None:
        """See `Builder`; the inputs are built by name, all else together."""
        job = self._job(root, conditions, stages)
        code = self._containers.run(job, conditions.name)
        if code != 0:
            raise build_failed(conditions, code)

    def _job(self, root: Path, conditions: Conditions, stages: Sequence[str]) -> Job:
        caches = own_caches(self._scratch)
        for folder in caches.values():
            Path(folder).mkdir(parents=True, exist_ok=True)
        network = bool(stages)
        return Job(
            command=("python", "-c", build_program(conditions), *build_arguments(stages)),
            folder=root,
            purpose=f"rebuild {root}",
            mounts=(
                same_place(self._scratch),
                self._containers.inside.code,
                *self._containers.inputs,
                *(fetch_mounts() if network else ()),
            ),
            environment={
                **build_environment(self._containers.inside.image),
                **(fetch_environment(self._containers.sources) if network else {}),
                **caches,
                # Builds are shown line by line, as in CI.
                "CI": "true",
                **conditions.environment,
            },
            network=network,
            hostname=conditions.hostname,
        )
