import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ptefoundry.base.sources import HubSource, content_digest
from ptefoundry.cli.main import app
from ptefoundry.errors import AdapterError, ConfigError, FoundryError
from ptefoundry.graph_check import check_graph
from ptefoundry.params import load_params
from support.tiny_adapters import write_adapter


def _invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["adapter", *map(str, arguments)])
    if isinstance(result.exception, FoundryError):
        raise result.exception
    return result


def test_add_checks_and_writes(workspace: Path, adapter: Path) -> None:
    result = _invoke("add", "green", adapter)
    assert result.exit_code == 0
    added = load_params(workspace).adapters["green"]
    assert added.source == "file:../lora_model"
    assert added.digest is None
    check_graph(workspace)
    assert "link@xnnpack-green" in result.stdout
    assert "the foundation is built first" in result.stdout


def test_add_pins_what_is_not_of_this_machine(
    workspace: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0" * 40

    def fetch(self: HubSource, into: Path, **_options: object) -> str:
        shutil.copytree(adapter, into, dirs_exist_ok=True)
        return commit

    monkeypatch.setattr(HubSource, "fetch", fetch)
    _invoke("add", "green", "hf:org/green@main")
    added = load_params(workspace).adapters["green"]
    assert added.source == f"hf:org/green@{commit}"
    assert added.digest == content_digest(adapter)


def test_add_says_that_the_foundation_stays(workspace: Path, adapter: Path) -> None:
    foundation = workspace / "artifacts/foundation/xnnpack/foundation.ptd"
    foundation.parent.mkdir(parents=True)
    foundation.touch()
    assert "the foundation is not built again" in _invoke("add", "green", adapter).stdout


def test_add_warns_of_another_base(workspace: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "other", base_model_name_or_path="other/base")
    result = _invoke("add", "green", adapter)
    assert "warning: adapter_config.json: base_model_name_or_path" in result.stderr


def test_add_refuses_an_adapter_that_does_not_fit(workspace: Path, tmp_path: Path) -> None:
    before = (workspace / "params.yaml").read_text()
    adapter = write_adapter(tmp_path / "bad", use_dora=True, target_modules=["q_proj"])
    with pytest.raises(AdapterError) as caught:
        _invoke("add", "green", adapter)
    assert "use_dora" in str(caught.value)
    assert (workspace / "params.yaml").read_text() == before


@pytest.mark.parametrize("name", ["base", "Green", "red", ""])
def test_add_refuses_names(workspace: Path, adapter: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="NAME"):
        _invoke("add", name, adapter)


def test_replace_takes_the_place(workspace: Path, adapter: Path) -> None:
    _invoke("add", "red", adapter, "--replace")
    adapters = load_params(workspace).adapters
    assert list(adapters) == ["red", "blue"]
    assert adapters["red"].source == "file:../lora_model"


def test_add_outside_of_a_workspace_is_refused(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="ptefoundry init"):
        _invoke("add", "green", adapter)


def _check(*arguments: object) -> tuple[int, dict[str, Any]]:
    result = _invoke("check", *arguments, "--json")
    return result.exit_code, json.loads(result.stdout)


def test_check_describes_a_usable_adapter(workspace: Path, adapter: Path) -> None:
    code, found = _check(adapter)
    assert code == 0
    assert found["usable"] is True
    assert found["base"] == "example/tiny"
    assert found["targets"] == ["q_proj", "v_proj"]
    text = _invoke("check", adapter).stdout
    assert re.search(r"targets +q_proj, v_proj\n", text)
    assert text.endswith("\nusable\n")


def test_check_tells_all_problems(workspace: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "bad", use_dora=True, target_modules=["q_proj"])
    code, found = _check(adapter)
    assert code == 3
    assert found["usable"] is False
    assert len(found["problems"]) >= 2
    result = _invoke("check", adapter)
    assert result.exit_code == 3
    assert f"refused for {len(found['problems'])} reasons:" in result.stdout


def test_check_works_without_a_workspace(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, found = _check("lora_model")
    assert (code, found["base"], found["usable"]) == (0, None, True)
    text = _invoke("check", adapter).stdout
    assert "no base, as this is no workspace" in text
    assert "usable, if it fits the base" in text


def test_check_of_a_missing_folder_is_a_problem(workspace: Path) -> None:
    code, found = _check("nowhere")
    assert code == 3
    assert found["problems"][0]["found"] == "no such folder"


def test_check_fetches_other_sources(workspace: Path, adapter: Path) -> None:
    assert _check("file:../lora_model")[1]["usable"] is True


def test_list_shows_every_adapter(workspace: Path) -> None:
    listed = json.loads(_invoke("list", "--json").stdout)
    assert [one["name"] for one in listed] == ["red", "blue"]
    assert listed[0] == {"name": "red", "source": "file:models/red", "digest": None}
    assert "file:models/blue" in _invoke("list").stdout


def test_remove_forgets_an_adapter(workspace: Path) -> None:
    _invoke("remove", "red")
    assert list(load_params(workspace).adapters) == ["blue"]
    check_graph(workspace)
    _invoke("remove", "blue")
    assert "no adapters" in _invoke("list").stdout
    with pytest.raises(ConfigError, match="found only: none"):
        _invoke("remove", "blue")
