import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ptefoundry.cli import build_place
from ptefoundry.cli.main import app
from ptefoundry.cli.stage_output import StageListener
from ptefoundry.errors import BuildError, ConfigError, FoundryError
from ptefoundry.graph_check import check_graph
from ptefoundry.toolchain import check_toolchain, pin_toolchain

Asked = list[tuple[str, ...]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The targets that DVC was asked for; it changes nothing."""
    calls: Asked = []

    def run(
        root: Path, targets: tuple[str, ...], listener: StageListener, *, verbose: bool
    ) -> None:
        calls.append(targets)
        listener.finished("compile@xnnpack", "unchanged", 0.0)
        listener.measured(3 << 20)
        listener.finished("bundle", "ran", 1.5)

    monkeypatch.setattr(build_place, "run_stages", run)
    return calls


def _build(*options: str) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["build", *options])
    if isinstance(result.exception, FoundryError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_build_brings_graph_and_toolchain_up_to_date(workspace: Path, asked: Asked) -> None:
    _, notes = _build()
    check_graph(workspace)
    check_toolchain(workspace, "compile")
    assert "toolchain.json now pins this installation" in notes
    assert asked == [()]
    assert "toolchain.json" not in _build()[1]


def test_changed_toolchain_is_told_by_value(workspace: Path, asked: Asked) -> None:
    pin_toolchain(workspace)
    path = workspace / "toolchain.json"
    pinned = json.loads(path.read_text())
    version = pinned["compile"]["torchao"]
    pinned["compile"]["torchao"] = "0.1"
    path.write_text(json.dumps(pinned))
    with pytest.raises(ConfigError, match=r"compile\.torchao: 0\.1 -> "):
        _build("--locked")
    assert json.loads(path.read_text()) == pinned
    assert f"compile.torchao: 0.1 -> {version}" in _build()[1]


def test_damaged_toolchain_is_refused(workspace: Path, asked: Asked) -> None:
    (workspace / "toolchain.json").write_text("{")
    with pytest.raises(ConfigError, match=r"toolchain\.json: expected JSON"):
        _build()


def test_variants_are_asked_for_by_their_smoke_runs(workspace: Path, asked: Asked) -> None:
    _build("--adapter", "red", "--backend", "xnnpack")
    _build("--only", "compile@xnnpack")
    assert asked == [("smoke@xnnpack-red",), ("compile@xnnpack",)]


def test_json_is_the_only_document_on_stdout(workspace: Path, asked: Asked) -> None:
    outcome = json.loads(_build("--json")[0])
    assert outcome["bundle"] == str(workspace / "artifacts" / "bundle")
    assert outcome["error"] is None
    assert outcome["stages"][1] == {
        "name": "bundle",
        "result": "ran",
        "seconds": 1.5,
        "bytes": 0,
        "max_rss_bytes": 3 << 20,
    }
    assert outcome["stages"][0]["bytes"] is None
    assert json.loads(_build("--json", "--adapter", "red")[0])["bundle"] is None


def test_failure_is_in_the_document_and_raised(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise BuildError("what happened")

    monkeypatch.setattr(build_place, "run_stages", fail)
    result = CliRunner().invoke(app, ["build", "--json"])
    assert isinstance(result.exception, BuildError)
    outcome = json.loads(result.stdout)
    assert (outcome["error"], outcome["bundle"]) == ("what happened", None)


def test_wrong_parameters_are_refused_with_their_line(workspace: Path, asked: Asked) -> None:
    path = workspace / "params.yaml"
    path.write_text(path.read_text().replace("context_length: 32", "context_length: many"))
    with pytest.raises(ConfigError, match=r"params\.yaml:\d+: backends\.xnnpack\.context_length"):
        _build()
    assert asked == []


def test_outputs_of_removed_adapters_go_with_a_full_build(workspace: Path, asked: Asked) -> None:
    gone = workspace / "artifacts" / "reference" / "green"
    gone.mkdir(parents=True)
    _build("--adapter", "red")
    assert gone.is_dir()
    assert "removed artifacts/reference/green" in _build()[1]
    assert not gone.exists()


def test_build_outside_of_a_workspace_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="ptefoundry init"):
        _build()
