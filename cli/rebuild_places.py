"""Where a bundle is built again: on this machine as it is, or in fresh containers."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        yield RebuildPlace(
            inside.toolchain(),
            lambda scratch: _ContainerBuilder(scratch, inside, inputs, sources),
        )


def _absolute_inputs(record: BuildRecord, original: Path) -> Iterator[Mount]:
    """Local sources that the tree has no copy of, as they are named by an absolute path."""
    for source in record.sources.values():
        path = source["source"].removeprefix(_LOCAL)
        if path != source["source"] and Path(path).is_absolute():
            yield same_place(original / path, read_only=True)


class _ContainerBuilder:
    """Builds in containers, without network but for fetching."""

    def __init__(
        self,
        scratch: Path,
        inside: ContainerImage,
        inputs: Sequence[Mount],
        sources: Sequence[str],
    ) -> None:
        """Everything that is kept is below `scratch`, all of which the containers see."""
        self._scratch = scratch
        self._inside = inside
        self._inputs = inputs
        self._sources = sources

    @property
    def downloads(self) -> Path:
        """The cache of sources that builds use."""
        return self._scratch / DOWNLOADS

    def build(self, root: Path, conditions: Conditions, stages: Sequence[str]) -> None:
        """See `Builder`; the inputs are built by name, all else together."""
        job = self._job(root, conditions, stages)
        with self._inside.engine.running(self._inside.image.id, job) as running:
            for line in running.lines():
                print(line, file=sys.stderr, flush=True)
            code = running.wait()
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
                self._inside.code,
                *self._inputs,
                *(fetch_mounts() if network else ()),
            ),
            environment={
                **build_environment(self._inside.image),
                **(fetch_environment(self._sources) if network else {}),
                **caches,
                # Builds are shown line by line, as in CI.
                "CI": "true",
                **conditions.environment,
            },
            network=network,
            hostname=conditions.hostname,
        )
