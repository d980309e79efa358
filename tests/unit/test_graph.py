from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ptefoundry.errors import ConfigError
from ptefoundry.graph import sync_graph
from ptefoundry.graph_check import check_graph

PARAMS = """\
bundle:
  name: assistant
base:
  name: org/model
  source: {base}
adapters: {adapters}
backends:
  xnnpack: {{}}
smoke:
  prompts: [hello]
"""


def _stages(folder: Path, base: str, adapters: str) -> dict:
    (folder / "params.yaml").write_text(PARAMS.format(base=base, adapters=adapters))
    sync_graph(folder)
    return YAML(typ="safe").load((folder / "dvc.yaml").read_text())["stages"]


def test_local_sources_are_dependencies_and_remote_ones_are_not(tmp_path: Path) -> None:
    adapters = "{near: {source: 'file:../near'}, far: {source: 'hf:org/far@main'}}"
    stages = _stages(tmp_path, "file:models/base", adapters)
    assert stages["fetch-base"]["deps"] == ["models/base"]
    digests = [
        f"artifacts/{place}.sha256"
        for place in ("base/fetched", "adapters/fetched/far", "adapters/fetched/near")
    ]
    assert stages["bundle"]["deps"][:3] == digests
    assert stages["fetch-adapter"]["foreach"] == {"near": "../near"}
    assert stages["fetch-remote-adapter"]["matrix"] == {"adapter": ["far"]}
    assert "deps" not in stages["fetch-remote-adapter"]
    assert stages["signatures"]["deps"] == [
        f"artifacts/adapters/canonical/{name}/adapter.json" for name in ("far", "near")
    ]
    assert stages["link"]["matrix"] == {"backend": ["xnnpack"], "adapter": ["far", "near"]}


def test_a_link_depends_on_what_its_own_template_follows_from(tmp_path: Path) -> None:
    """Its recipe: shape, options, signature, toolchain; and that of others with a shared one."""
    stages = _stages(tmp_path, "file:base", "{a: {source: 'file:a'}}")
    own = [
        "artifacts/adapters/canonical/${item.adapter}",
        "artifacts/base/canonical/config.json",
        "artifacts/foundation/${item.backend}",
    ]
    assert stages["link"]["deps"] == own
    assert stages["link"]["params"] == [
        "backends.${item.backend}",
        {"toolchain.json": ["compile", "link"]},
    ]
    path = tmp_path / "params.yaml"
    path.write_text(path.read_text().replace("xnnpack: {", "xnnpack: {templates: shared"))
    sync_graph(tmp_path)
    shared = YAML(typ="safe").load((tmp_path / "dvc.yaml").read_text())["stages"]["link"]["deps"]
    assert set(shared) - set(own) == {"artifacts/signatures.json"}


def test_remote_base_has_no_dependency(tmp_path: Path) -> None:
    stages = _stages(tmp_path, "hf:org/model@main", "{}")
    assert "deps" not in stages["fetch-base"]


def test_without_adapters_there_are_no_stages_of_theirs(tmp_path: Path) -> None:
    stages = _stages(tmp_path, "file:base", "{}")
    assert set(stages) == {
        *("fetch-base", "convert-base", "reference-base", "compile", "build-runner"),
        *("foundation", "smoke-base", "bundle"),
    }


def test_quantized_programs_are_compared_with_the_quantized_model(tmp_path: Path) -> None:
    plain = _stages(tmp_path, "file:base", "{a: {source: 'file:a'}}")
    assert "artifacts/reference/${item.adapter}" in plain["smoke"]["deps"]
    path = tmp_path / "params.yaml"
    path.write_text(path.read_text().replace("xnnpack: {", "xnnpack: {embedding: '8,0', "))
    sync_graph(tmp_path)
    stages = YAML(typ="safe").load((tmp_path / "dvc.yaml").read_text())["stages"]
    assert set(stages) - set(plain) == {"quantized-reference-base", "quantized-reference"}
    for smoke, quantized in (
        ("smoke-base", "quantized-reference-base"),
        ("smoke", "quantized-reference"),
    ):
        (output,) = stages[quantized]["outs"]
        assert output in stages[smoke]["deps"]
        assert output in stages[smoke]["cmd"]
    unchanged = set(plain) - {"smoke-base", "smoke"}
    assert {name: stages[name] for name in unchanged} == {name: plain[name] for name in unchanged}


def test_graph_is_written_only_when_it_changed(tmp_path: Path) -> None:
    _stages(tmp_path, "file:base", "{}")
    assert not sync_graph(tmp_path)
    check_graph(tmp_path)
    path = tmp_path / "params.yaml"
    path.write_text(path.read_text().replace("adapters: {}", "adapters: {a: {source: 'file:a'}}"))
    with pytest.raises(ConfigError, match="ptefoundry build"):
        check_graph(tmp_path)
    assert sync_graph(tmp_path)
    check_graph(tmp_path)


def test_repository_s_own_graph_is_current() -> None:
    check_graph(Path(__file__).parents[2])


def test_what_was_compared_is_remembered_until_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stages(tmp_path, "file:base", "{}")
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    check_graph(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("ptefoundry.graph.is_current", lambda _root: pytest.fail("compared again"))
        check_graph(tmp_path)
    graph = tmp_path / "dvc.yaml"
    current = graph.read_text()
    graph.write_text(current + "# edited\n")
    with pytest.raises(ConfigError, match="ptefoundry build"):
        check_graph(tmp_path)
    graph.write_text(current)
    check_graph(tmp_path)
    graph.unlink()
    with pytest.raises(ConfigError, match="ptefoundry build"):
        check_graph(tmp_path)


def test_a_shared_template_is_asked_for_in_two_stages(tmp_path: Path) -> None:
    plain = _stages(tmp_path, "file:base", "{a: {source: 'file:a'}}")
    path = tmp_path / "params.yaml"
    path.write_text(path.read_text().replace("xnnpack: {", "xnnpack: {templates: shared, "))
    sync_graph(tmp_path)
    stages = YAML(typ="safe").load((tmp_path / "dvc.yaml").read_text())["stages"]
    changed = {name for name in stages if stages[name] != plain[name]}
    assert changed == {"signatures", "link"}
    assert all(stages[name]["cmd"].endswith(" --shared") for name in changed)
