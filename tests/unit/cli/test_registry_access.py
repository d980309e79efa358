"""Which registry the endpoint of a workspace's store is for."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ptefoundry import s3
from ptefoundry.cli.main import app
from ptefoundry.cli.registry_access import known_endpoint
from ptefoundry.errors import StoreError
from ptefoundry.workspace import PARAMS_FILE

ENDPOINT = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One whose registry is on a store that does not answer."""
    params = (Path(__file__).parents[3] / PARAMS_FILE).read_text()
    section = f"registry: {{url: s3://models/registry, endpoint_url: '{ENDPOINT}'}}\n"
    assert "\nregistry:" not in params
    (tmp_path / PARAMS_FILE).write_text(params + section)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PTEFOUNDRY_CACHE", str(tmp_path / "cache"))
    return tmp_path


def run(*words: str) -> str:
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("s3://models/registry", ENDPOINT),
        ("s3://models/other", ENDPOINT),
        ("s3://elsewhere/registry", None),
        ("file:registry", None),
        ("https://models.example/registry", None),
    ],
)
def test_an_endpoint_is_that_of_one_store(address: str, expected: str | None) -> None:
    assert known_endpoint(address) == expected


@pytest.mark.parametrize("url", [None, "file:registry"])
def test_alone_it_is_for_all_buckets(workspace: Path, url: str | None) -> None:
    path = workspace / PARAMS_FILE
    text = path.read_text()
    path.write_text(text.replace("url: s3://models/registry", f"url: {url or 'null'}"))
    assert known_endpoint("s3://anything/registry") == ENDPOINT
    assert known_endpoint("file:registry") is None


def test_outside_of_a_workspace_there_is_none(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert known_endpoint("s3://models/registry") is None


def test_folders_are_used_in_a_workspace_with_an_endpoint() -> None:
    for name in ("one", "two"):
        assert "is a registry" in run("registry", "init", f"file:{name}")
        assert json.loads(run("ls", f"file:{name}", "--json")) == []
    assert "0 versions were there" in run("mirror", "file:one", "file:two")


@pytest.mark.parametrize("words", [("registry", "init"), ("ls",)])
def test_the_registry_of_the_workspace_is_asked_for_at_its_endpoint(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*, endpoint_url: str | None) -> None:
        raise StoreError(f"asked at {endpoint_url}")

    monkeypatch.setattr(s3, "connect", connect)
    with pytest.raises(StoreError, match=f"asked at {ENDPOINT}"):
        run(*words)
