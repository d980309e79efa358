import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ptefoundry.cli import machine
from ptefoundry.cli.machine import find_needs, measure_space
from ptefoundry.cli.main import app
from ptefoundry.errors import ConfigError


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without executorch and the headers of PCRE2."""
    version = importlib.metadata.version

    def find(package: str) -> str:
        if package == "executorch":
            raise importlib.metadata.PackageNotFoundError(package)
        return version(package)

    compiles = machine._compiles
    monkeypatch.setattr(importlib.metadata, "version", find)
    monkeypatch.setattr(
        machine,
        "_compiles",
        lambda compiler, headers: "pcre2.h" not in headers and compiles(compiler, headers),
    )


def _doctor() -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_missing_things_are_told_with_how_to_get_them(lacking: None, workspace: Path) -> None:
    code, found = _doctor()
    assert code == 5
    missing = {need["name"]: need for need in found["needs"] if not need["ok"]}
    assert set(missing) == {"Python package executorch", "header pcre2.h"}
    executorch = missing["Python package executorch"]
    assert executorch["stages"] == [
        *("quantized-reference", "compile", "foundation", "build-runner"),
    ]
    assert "-m pip install executorch" in executorch["get"]
    assert missing["header pcre2.h"]["stages"] == ["build-runner"]


def test_text_shows_state_and_way(lacking: None, workspace: Path) -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 5
    lines = result.stdout.splitlines()
    (line,) = (line for line in lines if "header pcre2.h" in line)
    assert line.startswith("missing")
    assert any("disk space, workspace" in line for line in lines)
    assert lines[-1] == "2 missing"


def test_quiet_tells_by_the_exit_code_only(lacking: None, workspace: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--quiet"])
    assert result.exit_code == 5
    assert result.output == ""


def test_a_stage_is_asked_for_by_itself(lacking: None, workspace: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--stage", "build-runner", "--json"])
    assert result.exit_code == 5
    needs = json.loads(result.stdout)["needs"]
    assert {"header pcre2.h", "Python package cmake"} <= {need["name"] for need in needs}
    assert all("build-runner" in need["stages"] for need in needs)
    assert CliRunner().invoke(app, ["doctor", "--stage", "convert-base", "-q"]).exit_code == 0


def test_an_unknown_stage_is_refused(workspace: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"--stage: expected one of .*build-runner.*found 'paint'"
    ):
        CliRunner().invoke(app, ["doctor", "--stage", "paint"], catch_exceptions=False)


def test_packages_of_every_stage_are_asked_for() -> None:
    names = {need.name for need in find_needs(None)}
    for package in ("dvc", "torch", "transformers", "peft", "executorch", "cmake", "ninja", "pip"):
        assert f"Python package {package}" in names


def test_pinned_version_is_the_one_to_get(workspace: Path) -> None:
    pins = {"compile": {"torch": "2.99.0", "code": "0" * 64}, "reference": {"peft": "0.1"}}
    (workspace / "toolchain.json").write_text(json.dumps(pins))
    ways = {need.name: need.get for need in find_needs(workspace)}
    assert ways["Python package torch"].endswith("torch==2.99.0")
    assert ways["Python package peft"].endswith("peft==0.1")


@pytest.mark.parametrize(
    ("system", "way"), [("Linux", "apt-get install libpcre2-dev"), ("Darwin", "brew install pcre2")]
)
def test_ways_are_those_of_the_system(
    system: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.platform, "system", lambda: system)
    monkeypatch.setattr(machine.shutil, "which", lambda program: f"/bin/{program}")
    assert machine._system_package("libpcre2-dev", "pcre2") == way


def test_no_compiler_is_missing_with_all_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    which = machine.shutil.which
    monkeypatch.setattr(
        machine.shutil, "which", lambda name: None if name in ("g++", "c++") else which(name)
    )
    missing = [need.name for need in find_needs(None) if not need.ok]
    assert missing == [
        "C++17 compiler",
        "header nlohmann/json.hpp",
        "header pcre2.h",
        "header utf8proc.h",
    ]


def test_space_is_measured_where_a_folder_will_be(tmp_path: Path) -> None:
    (place,) = measure_space({"cache": tmp_path / "not" / "yet"})
    assert place.free_bytes > 0
    assert place.path.endswith("not/yet")
