"""Where the stages of a build run: on this machine as it is, or in a container."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ptefoundry.params import Params
from ptefoundry.toolchain import current_toolchain

from .repro import run_stages
from .stage_output import StageListener


class BuildPlace(Protocol):
    """Runs stages with the toolchain that is there."""

    def toolchain(self) -> Mapping[str, Any]:
        """What toolchain.json has to say for this place."""

    def run_stages(self, targets: Sequence[str], listener: StageListener, *, verbose: bool) -> None:
        """Bring stages up to date; see `repro.run_stages`."""


class ThisMachine:
    """The stages run as processes of this machine."""

    def __init__(self, root: Path) -> None:
        """`root` is the workspace."""
        self._root = root

    def toolchain(self) -> Mapping[str, Any]:
        """See `BuildPlace`."""
        return current_toolchain()

    def run_stages(self, targets: Sequence[str], listener: StageListener, *, verbose: bool) -> None:
        """See `BuildPlace`."""
        run_stages(self._root, targets, listener, verbose=verbose)


@contextmanager
def build_place(
    root: Path, params: Params, *, container: bool, image: str | None
) -> Iterator[BuildPlace]:
    """Where to build a workspace.

    Args:
        root: the workspace.
        params: its params.yaml.
        container: in a container, not on this machine as it is.
        image: an image that the engine has, for a container; None for that of the Dockerfile.

    Raises:
        MissingToolError: there is no container engine.
        ContainerError: there is no such image, or building it failed.
    """
    if not container:
        yield ThisMachine(root)
        return
    # Docker's library is heavy.
    from .container_place import container_place

    with container_place(root, params, image) as place:
        yield place
