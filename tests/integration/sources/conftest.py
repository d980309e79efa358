"""Servers and a closed environment for fetching: nothing here leaves the machine."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Tests are imported by file (importlib mode), so modules beside them need a place on the path.
sys.path.insert(0, str(Path(__file__).parent))

from fake_hub import FakeHub, serve_hub
from http_server import LoopbackServer, Reply, serve, serving_files
from package_index import pip_environment

from ptefoundry import retry
from ptefoundry.base.sources import BASE_FILES, FetchedSource, Wanted, fetch
from support.seaweedfs import S3Server, serve_s3

WHERE = "params.yaml: base.source"

Fetch = Callable[..., FetchedSource]
FetchProcess = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def closed_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, login or configuration of the machine's; no waiting between tries."""
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith(("AWS_", "HF_", "PIP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf_home"))
    monkeypatch.setattr(retry, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "out" / "base"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def fetch_here(tmp_path: Path, into: Path, cache: Path) -> Fetch:
    """`fetch` with this test's folders."""

    def run(
        spec: str, *, digest: str | None = None, wanted: Wanted = BASE_FILES, into: Path = into
    ) -> FetchedSource:
        return fetch(
            spec, into, digest=digest, wanted=wanted, root=tmp_path, cache=cache, where=WHERE
        )

    return run


@pytest.fixture
def files() -> dict[str, Reply]:
    """What `web` serves, by path; tests fill it."""
    return {}


@pytest.fixture
def web(files: dict[str, Reply]) -> Iterator[LoopbackServer]:
    with serve(serving_files(files)) as server:
        yield server


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    files = {
        "README.md": b"# tiny",
        "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
        "tokenizer.json": b"{}",
        "model.safetensors": bytes(range(256)) * 400,
        "original/consolidated.00.pth": b"the same weights once more",
        "original/params.json": b"{}",
    }
    with serve_hub("org/tiny", files) as server:
        yield server


@pytest.fixture
def fetch_from_hub(hub: FakeHub, into: Path, cache: Path, tmp_path: Path) -> FetchProcess:
    """Fetch in a new process: huggingface_hub reads HF_ENDPOINT when it is imported."""

    def run(spec: str, *, env: dict[str, str] | None = None, **request: Any) -> dict[str, Any]:
        command = program(spec, into, cache, **request)
        environment = {**os.environ, "HF_ENDPOINT": hub.url, **(env or {})}
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    return run


def program(spec: str, into: Path, cache: Path, **request: Any) -> list[str]:
    """The command line that fetches in a process of its own."""
    script = Path(__file__).with_name("fetch_program.py")
    text = json.dumps({"spec": spec, "into": str(into), "cache": str(cache), **request})
    return [sys.executable, str(script), text]


@pytest.fixture
def fetch_command(into: Path, cache: Path) -> Callable[[str], list[str]]:
    """The command line that fetches a spec in a process of its own."""
    return lambda spec: program(spec, into, cache)


@pytest.fixture
def use_index(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Point pip at an index."""

    def use(url: str) -> None:
        for name, value in pip_environment(url).items():
            monkeypatch.setenv(name, value)

    return use


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serve_s3(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server
