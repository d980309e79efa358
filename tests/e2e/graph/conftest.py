from collections.abc import Callable
from pathlib import Path

import pytest

from support.tiny_workspace import TinyWorkspace

MakeWorkspace = Callable[[], TinyWorkspace]


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One DVC cache for all workspaces of these tests, so that each thing is built once."""
    return tmp_path_factory.mktemp("dvc-cache")


@pytest.fixture
def make_workspace(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> MakeWorkspace:
    return lambda: TinyWorkspace(tmp_path_factory.mktemp("workspace"), shared_cache)


@pytest.fixture(scope="session")
def first_build(
    tmp_path_factory: pytest.TempPathFactory, shared_cache: Path
) -> tuple[TinyWorkspace, list[str]]:
    """A workspace that was built from nothing, and the stages that ran."""
    workspace = TinyWorkspace(tmp_path_factory.mktemp("first"), shared_cache)
    return workspace, workspace.repro()
