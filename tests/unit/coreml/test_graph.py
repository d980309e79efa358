from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ptefoundry.cli.stage_names import redefined_stages, stage_descriptions
from ptefoundry.cli.targets import coreml_methods, find_targets
from ptefoundry.errors import ConfigError
from ptefoundry.graph import graph_text
from ptefoundry.params import Params, load_params

PARAMS = """\
bundle:
  name: assistant
base:
  name: org/model
  source: file:base
adapters: {adapters}
backends:
{xnnpack}
{coreml}
smoke:
  prompts: [hello]
"""
RED, BLUE = "red: {source: 'file:red'}", "blue: {source: 'file:blue'}"


def _params(
    folder: Path, *adapters: str, xnnpack: str = "  xnnpack: {}", coreml: str = "  coreml: {}"
) -> Params:
    listed = "{" + ", ".join(adapters) + "}"
    text = PARAMS.format(adapters=listed, xnnpack=xnnpack, coreml=coreml)
    (folder / "params.yaml").write_text(text)
    return load_params(folder)


def _stages(params: Params) -> dict:
    return YAML(typ="safe").load(graph_text(params))["stages"]


def test_without_the_section_the_graph_is_the_same(tmp_path: Path) -> None:
    without = _stages(_params(tmp_path, RED, coreml=""))
    with_it = _stages(_params(tmp_path, RED))
    assert set(with_it) - set(without) == {"compile-coreml", "smoke-coreml"}
    same = {name: stage for name, stage in with_it.items() if name in without and name != "bundle"}
    assert same == {name: stage for name, stage in without.items() if name != "bundle"}
    assert "artifacts/compile/coreml" in with_it["bundle"]["deps"]
    assert "artifacts/compile/coreml" not in without["bundle"]["deps"]


def test_without_xnnpack_there_is_only_what_core_ml_needs(tmp_path: Path) -> None:
    alone, both = _stages(_params(tmp_path, RED, xnnpack="")), _stages(_params(tmp_path, RED))
    assert set(both) - set(alone) == {
        *("signatures", "compile", "foundation", "build-runner"),
        *("smoke-base", "link", "smoke"),
    }
    assert {name: stage for name, stage in both.items() if name in alone and name != "bundle"} == {
        name: stage for name, stage in alone.items() if name != "bundle"
    }
    gone = {*both["bundle"]["deps"]} - {*alone["bundle"]["deps"]}
    assert gone == {
        *("artifacts/foundation/xnnpack", "artifacts/link/xnnpack/red.pte"),
        *(f"artifacts/smoke/xnnpack/{name}/metrics.json" for name in ("base", "red")),
    }


def test_a_workspace_that_builds_for_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="backends: expected xnnpack, coreml or both"):
        _params(tmp_path, xnnpack="  xnnpack:", coreml="")


def test_the_program_follows_from_the_base_and_all_adapters(tmp_path: Path) -> None:
    stage = _stages(_params(tmp_path, RED, BLUE))["compile-coreml"]
    assert stage["deps"] == [
        "artifacts/base/canonical/config.json",
        "artifacts/base/canonical/model.safetensors",
        "artifacts/base/canonical/tokenizer/chat.json",
        "artifacts/adapters/canonical/blue",
        "artifacts/adapters/canonical/red",
    ]
    assert all(path in stage["cmd"] for path in stage["deps"][3:])
    assert stage["params"] == ["backends.coreml", {"toolchain.json": ["compile-coreml"]}]


def test_an_adapter_compiles_the_program_and_no_stage_of_another_adapter(tmp_path: Path) -> None:
    before, after = graph_text(_params(tmp_path, RED)), graph_text(_params(tmp_path, RED, BLUE))
    new = stage_descriptions(after).keys() - stage_descriptions(before).keys()
    assert "smoke-coreml@blue" in new
    assert redefined_stages(before, after) == {"bundle", "compile-coreml", "signatures"}


def test_stages_are_found_by_variant(tmp_path: Path) -> None:
    params = _params(tmp_path, RED)
    assert find_targets(params, backends=["coreml"], adapters=[]) == (
        "smoke-coreml@base",
        "smoke-coreml@red",
    )
    assert set(find_targets(params, backends=["coreml"], adapters=[])) <= set(
        stage_descriptions(graph_text(params))
    )


def test_a_plan_counts_all_methods(tmp_path: Path) -> None:
    assert coreml_methods(_params(tmp_path, RED, coreml="")) == ()
    assert coreml_methods(_params(tmp_path, RED)) == (
        *("forward", "prefill"),
        *("red_forward", "red_prefill"),
    )
