"""Registries in a folder and on SeaweedFS, and who uses them with the installed command."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptefoundry import s3
from support.golden_registry import GOLDEN
from support.packed import copy_bundle
from support.places import Place, environment_of
from support.seaweedfs import S3Server, serve_s3
from support.shell import QuickShell, Shell

BUCKET = "models"


@pytest.fixture(autouse=True)
def closed_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What tests do without the command is not done with the machine's settings either."""
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith(("AWS_", "PTEFOUNDRY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PTEFOUNDRY_CACHE", str(tmp_path / "cache-of-the-test"))


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS, which takes seconds to start, with an empty bucket."""
    with serve_s3(tmp_path_factory.mktemp("seaweedfs")) as server:
        with environment_of(server.environment()):
            s3.connect().create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture(scope="module")
def make_place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Place]:
    """An address without a registry, by the kind of its store."""

    def make(kind: str) -> Place:
        if kind == "file":
            return Place(f"file:{tmp_path_factory.mktemp('store') / 'registry'}")
        server = request.getfixturevalue("s3_server")
        return Place(f"s3://{BUCKET}/{uuid.uuid4().hex}", server.environment())

    return make


@pytest.fixture(scope="module", params=["file", "s3"])
def kind(request: pytest.FixtureRequest) -> str:
    """Where registries are."""
    return str(request.param)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A user whom nobody has told anything."""
    return Shell(tmp_path)


@pytest.fixture
def quick_shell(tmp_path: Path) -> QuickShell:
    """The same user, for many refusals."""
    return QuickShell(tmp_path)


@pytest.fixture
def place(kind: str, make_place: Callable[[str], Place]) -> Place:
    """An empty registry."""
    return make_place(kind).init()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The golden bundle, to be changed."""
    return copy_bundle(tmp_path / "bundle")


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A copy of the golden registry, to be changed."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden"))
