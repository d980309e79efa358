import dataclasses
import json
import shutil
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from ptefoundry.cli.main import app
from ptefoundry.cli.planning import plan_templates
from ptefoundry.cli.template_list import needed_templates
from ptefoundry.errors import (
    AdapterError,
    ArtifactError,
    ConfigError,
    FoundryError,
    RegistryError,
    TrustError,
)
from ptefoundry.files import write_json
from ptefoundry.lowering import compile as compiling
from ptefoundry.lowering.store import TemplateStore, workspace_stores
from ptefoundry.lowering.template import load_template, save_template
from ptefoundry.lowering.templates import list_recipes
from ptefoundry.params import load_params
from ptefoundry.registry.registry import init_registry
from ptefoundry.registry.store.file import FileStore
from ptefoundry.registry.templates import RegistryTemplates
from ptefoundry.registry.trust.keys import generate_signer
from ptefoundry.toolchain import describe_section
from ptefoundry.workspace import Workspace
from support.golden_template import SIGNATURE, TEMPLATES, write_adapter


def _invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["template", *map(str, arguments)])
    if isinstance(result.exception, FoundryError):
        raise result.exception
    return result


@pytest.fixture
def converted(workspace: Path) -> Workspace:
    """A workspace whose two adapters have one signature."""
    found = Workspace(workspace)
    write_json(found.canonical_base / "tokenizer" / "chat.json", {"eos_token_ids": [2]})
    for name in ("red", "blue"):
        write_adapter(found.artifacts / "adapters" / "canonical" / name)
    return found


def _keep(
    workspace: Workspace, store: TemplateStore | RegistryTemplates, signature: dict[str, int]
) -> str:
    """Put a template in a store as if it had been compiled for the workspace."""
    from ptefoundry.digest import hash_json

    params = load_params(workspace.root).backends.xnnpack
    toolchain = hash_json(describe_section("compile"))
    recipe = list_recipes(workspace.canonical_base, [signature], params, toolchain)[-1]
    template = load_template(TEMPLATES / "adapter")
    content = msgspec.structs.replace(template.map, recipe=recipe)
    store.add(dataclasses.replace(template, map=content))
    return recipe.key


def test_ls_tells_who_needs_what_and_where_it_is(converted: Workspace) -> None:
    own, cache = workspace_stores(converted.root)
    shared = _keep(converted, own, SIGNATURE)
    other = _keep(converted, cache, {"layers.1.attention.wk": 3})
    rows = json.loads(_invoke("ls", "--json").stdout)
    assert [row["needed_by"] for row in rows] == [["base"], ["blue", "red"], []]
    assert [row["key"] for row in rows[1:]] == [shared, other]
    assert [row["found_in"] for row in rows] == [None, str(own.folder), str(cache.folder)]
    assert rows[1]["bytes"] == own.size(shared)
    text = _invoke("ls").stdout
    assert "nowhere, will be compiled" in text
    assert "blue, red" in text


def test_plan_tells_which_templates_a_build_links_from(converted: Workspace) -> None:
    own, cache = workspace_stores(converted.root)
    _keep(converted, own, SIGNATURE)
    _keep(converted, cache, {"layers.1.attention.wk": 3})
    rows = plan_templates(converted)
    assert rows is not None
    assert [(row.needed_by, row.found_in) for row in rows] == [
        (("base",), None),
        (("blue", "red"), str(own.folder)),
    ]
    shutil.rmtree(converted.artifacts / "adapters")
    assert plan_templates(converted) is None


def test_ls_needs_converted_adapters(converted: Workspace) -> None:
    shutil.rmtree(converted.artifacts / "adapters")
    with pytest.raises(AdapterError, match="expected a converted adapter"):
        _invoke("ls")


def test_needed_templates_follow_the_options(converted: Workspace) -> None:
    before = needed_templates(converted)
    path = converted.root / "params.yaml"
    path.write_text(path.read_text().replace("context_length: 32", "context_length: 64"))
    assert not before.keys() & needed_templates(converted).keys()


def test_a_shared_template_has_room_for_all_adapters(converted: Workspace) -> None:
    other = converted.artifacts / "adapters" / "canonical" / "blue"
    shutil.rmtree(other)
    write_adapter(other, modules={"layers.1.attention.wk": 3})
    assert list(needed_templates(converted).values()) == [("base",), ("blue",), ("red",)]
    path = converted.root / "params.yaml"
    path.write_text(path.read_text().replace("xnnpack:", "xnnpack:\n    templates: shared"))
    own, _ = workspace_stores(converted.root)
    key = _keep(converted, own, {**SIGNATURE, "layers.1.attention.wk": 3})
    assert needed_templates(converted)[key] == ("blue", "red")


@pytest.mark.parametrize("kind", ["folder", "registry"])
def test_push_and_pull_carry_templates_to_another_workspace(
    converted: Workspace, tmp_path: Path, kind: str
) -> None:
    own, cache = workspace_stores(converted.root)
    key = _keep(converted, cache, SIGNATURE)
    built = converted.artifacts / "compile" / "xnnpack" / "some-name"
    found = cache.find(key)
    assert found is not None
    save_template(found, built)
    place, shared = str(tmp_path / "shared"), tmp_path / "shared"
    if kind == "registry":
        place, shared = f"file:{tmp_path / 'registry'}", tmp_path / "registry" / "templates"
        init_registry(FileStore(tmp_path / "registry"))
    assert "some-name" in _invoke("push", place).stdout
    assert list(TemplateStore(shared).keys()) == [key]
    assert "blue, red" in _invoke("pull", place).stdout
    assert list(own.keys()) == [key]
    shutil.rmtree(own.folder)
    _invoke("push")
    assert list(own.keys()) == [key]


def test_push_to_what_is_no_registry_is_refused(converted: Workspace, tmp_path: Path) -> None:
    save_template(
        load_template(TEMPLATES / "adapter"), converted.artifacts / "compile" / "xnnpack" / "some"
    )
    with pytest.raises(RegistryError, match="expected a registry"):
        _invoke("push", f"file:{tmp_path}")


def test_unsigned_templates_of_a_registry_are_asked_for_under_a_policy(
    converted: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"file:{tmp_path / 'registry'}"
    init_registry(FileStore(tmp_path / "registry"))
    key = _keep(converted, RegistryTemplates(FileStore(tmp_path / "registry")), SIGNATURE)
    own, _ = workspace_stores(converted.root)
    monkeypatch.setenv("PTEFOUNDRY_TRUST", generate_signer().public.pem.decode())
    with pytest.raises(TrustError, match=r"programs that nobody signs.*--unsigned"):
        _invoke("pull", place)
    assert own.find(key) is None
    _invoke("pull", place, "--unsigned")
    assert own.find(key) is not None


def test_pull_says_what_it_did_not_find(converted: Workspace, tmp_path: Path) -> None:
    _keep(converted, TemplateStore(tmp_path / "shared"), {"layers.1.attention.wk": 3})
    with pytest.raises(ArtifactError, match="expected templates of this workspace, found none"):
        _invoke("pull", tmp_path / "shared")


def test_push_and_verify_need_built_templates(converted: Workspace, tmp_path: Path) -> None:
    for arguments in (("push",), ("verify",), ("verify", tmp_path)):
        with pytest.raises(ConfigError, match=r"expected .*templates, found none"):
            _invoke(*arguments)


def test_verify_compiles_each_template(
    converted: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def compile_template(recipe: object, into: Path) -> None:
        compiled.append(recipe)
        shutil.copytree(TEMPLATES / ("base" if len(compiled) == 2 else "adapter"), into)

    monkeypatch.setattr(compiling, "compile_template", compile_template)
    result = _invoke("verify", TEMPLATES)
    assert result.stdout.count("a fresh compilation gives the same bytes") == 2
    assert len(compiled) == 2
