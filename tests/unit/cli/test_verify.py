"""Options of `ptefoundry verify` that do not go together."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ptefoundry.cli.main import app
from ptefoundry.errors import ArtifactError, ConfigError


def refusal(*words: str) -> str:
    with pytest.raises(ConfigError) as raised:
        CliRunner().invoke(app, ["verify", *words], catch_exceptions=False)
    return str(raised.value)


@pytest.mark.parametrize("option", ["--relink", "--answers", "--adapter=red"])
def test_what_is_only_for_a_workspace(option):
    assert "for the workspace's bundle alone" in refusal("file:registry", "tiny@1.0.0", option)


@pytest.mark.parametrize("option", ["--deep", "--json"])
def test_what_is_only_for_a_version(option):
    assert "name one" in refusal(option)


@pytest.mark.parametrize("name", ["app", "models/app", "./app"])
def test_a_folder_that_is_not_there(name):
    assert f"found no folder {Path(name)}" in refusal(name)


@pytest.mark.parametrize("name", ["app", "./tiny:stable", "app@home"])
def test_a_folder_is_told_from_a_version(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    with pytest.raises(ArtifactError, match=r"manifest\.json: expected a bundle's manifest"):
        CliRunner().invoke(app, ["verify", name], catch_exceptions=False)


def test_a_version_is_not_taken_for_a_folder_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PTEFOUNDRY_REGISTRY", raising=False)
    Path("tiny:stable").mkdir()
    assert "expected a registry, found none" in refusal("tiny:stable")


def test_units_are_for_answers_alone():
    assert "expected it with --answers" in refusal("--compute-units", "cpu_only")


def test_answers_of_a_workspace_without_coreml(tmp_path, monkeypatch):
    shutil.copy(Path(__file__).parents[3] / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "expected backends.coreml in params.yaml" in refusal("--answers")
