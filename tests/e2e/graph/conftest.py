import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.clones import Clones, Machine, cloned
from support.shared_folder import shared_folder
from support.tiny_workspace import TinyWorkspace
from support.warm_stages import stage_server

MakeWorkspace = Callable[[], TinyWorkspace]


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with stage_server(tmp_path_factory.mktemp("stage-server")) as variables:
        yield variables


@pytest.fixture(scope="module", autouse=True)
def _stages_are_forked(_server: dict[str, str]) -> Iterator[None]:
    """For these tests alone, while the server lives as long as the run."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _server.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def first_build(tmp_path_factory: pytest.TempPathFactory) -> tuple[TinyWorkspace, list[str]]:
    """A workspace that was built from nothing, and the stages that ran; one for all workers."""
    with shared_folder(tmp_path_factory, "graph") as folder:
        workspace = TinyWorkspace(folder / "first", folder / "dvc-cache")
        executed = folder / "executed.json"
        if not executed.is_file():
            executed.write_text(json.dumps(workspace.repro()))
        return workspace, json.loads(executed.read_text())


@pytest.fixture(scope="session")
def shared_cache(first_build: tuple[TinyWorkspace, list[str]]) -> Path:
    """One DVC cache for all workspaces of these tests, so that each thing is built once.

    It has what the first build made, so nothing has to wait for a compiler again.
    """
    workspace, _ = first_build
    return workspace.root.with_name("dvc-cache")


@pytest.fixture
def make_workspace(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> MakeWorkspace:
    return lambda: TinyWorkspace(tmp_path_factory.mktemp("workspace"), shared_cache)


@pytest.fixture(scope="session")
def clones(
    tmp_path_factory: pytest.TempPathFactory,
    first_build: tuple[TinyWorkspace, list[str]],
    shared_cache: Path,
) -> Iterator[Clones]:
    """A repository of the workspace that was built, and a store for its machines."""
    folder = tmp_path_factory.mktemp("clones")
    # Models and all: an adapter names the folder of its base, and so would be another one.
    ignored = shutil.ignore_patterns("artifacts", ".cache", "tmp", "dvc.lock")
    shutil.copytree(first_build[0].root, folder / "origin", ignore=ignored)
    with cloned(TinyWorkspace(folder / "origin", shared_cache), folder) as found:
        yield found


@pytest.fixture(scope="session")
def first(clones: Clones) -> Machine:
    """The machine that has given the shared cache what it built."""
    machine = Machine(clones.origin.root, clones.origin.environment | clones.variables)
    done = machine.run("build", "--push")
    assert "0 ran, 19 from the cache" in done.output
    assert "shared cache: sent " in done.errors
    return machine
