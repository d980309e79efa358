"""Stores of all kinds, each empty, and nothing of the machine's own settings."""

import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from ptefoundry import retry, s3
from ptefoundry.registry.store.file import FileStore
from ptefoundry.registry.store.http import HttpStore
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.store.s3 import S3Store
from support.seaweedfs import S3Server, serve_s3
from support.sides import BUCKET, Side
from support.static_server import StaticServer, serve_folder

# Tests are imported by file (importlib mode), so modules beside them need a place on the path.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def closed_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PTEFOUNDRY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(retry, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serve_s3(tmp_path_factory.mktemp("seaweedfs")) as server:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.environment().items():
                patch.setenv(name, value)
            s3.connect().create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture
def s3_environment(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def s3_store(s3_environment: S3Server, tmp_path: Path) -> S3Store:
    return S3Store(s3.connect(), BUCKET, f"{uuid.uuid4().hex}/", cache=tmp_path / "uploads")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[StaticServer]:
    with serve_folder(tmp_path / "served") as server:
        yield server


@pytest.fixture
def http_store(served: StaticServer) -> Iterator[HttpStore]:
    store = HttpStore(served.url)
    yield store
    store.close()


MakeSide = Callable[[str], Side]


@pytest.fixture
def make_side(request: pytest.FixtureRequest, tmp_path: Path) -> MakeSide:
    """An empty store by the name of its kind."""

    def make(kind: str) -> Side:
        if kind == "http":
            writer = FileStore(request.getfixturevalue("served").folder)
            return Side(writer, request.getfixturevalue("http_store"))
        stores: dict[str, Callable[[], Store]] = {
            "memory": MemoryStore,
            "file": lambda: FileStore(tmp_path / "registry"),
            "s3": lambda: request.getfixturevalue("s3_store"),
        }
        store = stores[kind]()
        return Side(store, store)

    return make


@pytest.fixture(params=["memory", "file", "s3"])
def store(request: pytest.FixtureRequest, make_side: MakeSide) -> Store:
    """A store that can be written to."""
    return make_side(request.param).writer


@pytest.fixture(params=["memory", "file", "s3", "http"])
def side(request: pytest.FixtureRequest, make_side: MakeSide) -> Side:
    """A store of any kind, and a way to fill it."""
    return make_side(request.param)


@pytest.fixture
def lose_answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Have requests reach the store whose answers never come back."""

    def lose(store: S3Store, operation: str, times: int) -> list[str]:
        session = store.bucket.client._endpoint.http_session
        send, lost = session.send, list[str]()
        under_way = threading.local()

        def note(model: Any, **_: Any) -> None:
            under_way.operation = model.name

        def deaf(request: Any) -> Any:
            answer = send(request)
            if under_way.operation == operation and len(lost) < times:
                lost.append(operation)
                raise botocore.exceptions.ConnectionClosedError(endpoint_url=request.url)
            return answer

        store.bucket.client.meta.events.register_first("before-call.s3", note)
        monkeypatch.setattr(session, "send", deaf)
        return lost

    return lose
