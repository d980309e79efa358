import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ptefoundry.cli.main import app
from ptefoundry.cli.planning import plan_templates
from ptefoundry.cli.template_list import NeededTemplates, needed_templates
from ptefoundry.errors import (
    ArtifactError,
    ConfigError,
    FoundryError,
    RegistryError,
    TrustError,
)
from ptefoundry.lowering import compile as compiling
from ptefoundry.lowering.store import TemplateStore, workspace_stores
from ptefoundry.lowering.template import load_template, save_template
from ptefoundry.registry.registry import init_registry
from ptefoundry.registry.store.file import FileStore
from ptefoundry.registry.templates import RegistryTemplates
from ptefoundry.registry.trust.keys import generate_signer
from ptefoundry.toolchain import current_toolchain, describe_section
from ptefoundry.workspace import Workspace
from support.golden_template import SIGNATURE, TEMPLATES, keep_template, write_adapter
from support.tiny_adapters import lora_tensors
from support.tiny_adapters import write_adapter as write_peft_adapter

PEFT_SIGNATURE = {f"layers.{n}.attention.{name}": 2 for n in (0, 1) for name in ("wq", "wv")}
"""Of what `support.tiny_adapters.write_adapter` writes."""


def _invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["template", *map(str, arguments)])
    if isinstance(result.exception, FoundryError):
        raise result.exception
    return result


def _needed(workspace: Workspace) -> NeededTemplates:
    return needed_templates(workspace, describe_section("compile"))


def test_ls_tells_who_needs_what_and_where_it_is(converted: Workspace) -> None:
    own, cache = workspace_stores(converted.root)
    shared = keep_template(converted, own, SIGNATURE)
    other = keep_template(converted, cache, {"layers.1.attention.wk": 3})
    rows = json.loads(_invoke("ls", "--json").stdout)
    assert [row["needed_by"] for row in rows] == [["base"], ["blue", "red"], []]
    assert [row["key"] for row in rows[1:]] == [shared, other]
    assert [row["found_in"] for row in rows] == [None, str(own.folder), str(cache.folder)]
    assert rows[1]["bytes"] == own.size(shared)
    text = _invoke("ls").stdout
    assert "nowhere, will be compiled" in text
    assert "blue, red" in text


def test_ls_of_a_place_tells_what_is_kept_there(
    converted: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = TemplateStore(tmp_path / "shared")
    key = keep_template(converted, shared, SIGNATURE)
    rows = json.loads(_invoke("ls", shared.folder, "--json").stdout)
    found = [(row["key"], row["needed_by"], row["found_in"]) for row in rows]
    assert found[1:] == [(key, ["blue", "red"], str(shared.folder))]
    assert found[0][1:] == (["base"], None)
    assert "not there" in _invoke("ls", shared.folder).stdout
    monkeypatch.chdir(tmp_path)
    (row,) = json.loads(_invoke("ls", shared.folder, "--json").stdout)
    assert (row["key"], row["needed_by"], row["bytes"]) == (key, [], shared.size(key))


def test_plan_tells_which_templates_a_build_links_from(converted: Workspace) -> None:
    own, cache = workspace_stores(converted.root)
    keep_template(converted, own, SIGNATURE)
    keep_template(converted, cache, {"layers.1.attention.wk": 3})
    rows = plan_templates(converted, current_toolchain())
    assert [(row.needed_by, row.found_in) for row in rows] == [
        (("base",), None),
        (("blue", "red"), str(own.folder)),
    ]


def test_plan_asks_for_templates_of_the_toolchain_that_compiles(converted: Workspace) -> None:
    here = current_toolchain()
    image = {name: {**section, "image": "sha256:1"} for name, section in here.items()}
    other = {**here, "compile": {**here["compile"], "torch": "0.1"}}
    keys = [[row.key for row in plan_templates(converted, one)] for one in (here, image, other)]
    assert keys[0] == keys[1]
    assert not set(keys[0]) & set(keys[2])


def test_each_variant_tells_when_its_template_is_known(converted: Workspace) -> None:
    shutil.rmtree(converted.canonical_adapter("red"))
    rows = plan_templates(converted, current_toolchain())
    assert [(row.needed_by, row.known_after) for row in rows] == [
        (("base",), ()),
        (("blue",), ()),
        (("red",), ("convert-adapter@red",)),
    ]
    assert "known after convert-adapter@red" in _invoke("ls").stdout
    shutil.rmtree(converted.canonical_base)
    assert _needed(converted) == NeededTemplates(
        {},
        {
            "base": ("convert-base",),
            "blue": ("convert-base",),
            "red": ("convert-adapter@red",),
        },
    )


def test_the_files_of_a_local_adapter_tell_its_template(converted: Workspace) -> None:
    write_peft_adapter(converted.root / "models" / "blue", tensors=lora_tensors(rank=4))
    write_peft_adapter(converted.root / "models" / "red")
    # Never converted, and converted before its files changed.
    shutil.rmtree(converted.canonical_adapter("blue"))
    _, cache = workspace_stores(converted.root)
    keys = [keep_template(converted, cache, dict.fromkeys(PEFT_SIGNATURE, rank)) for rank in (4, 2)]
    needed = _needed(converted)
    assert [needed.variants[key] for key in keys] == [("blue",), ("red",)]
    assert not needed.unknown


def test_needed_templates_follow_the_options(converted: Workspace) -> None:
    before = _needed(converted).variants
    path = converted.root / "params.yaml"
    path.write_text(path.read_text().replace("context_length: 32", "context_length: 64"))
    assert not before.keys() & _needed(converted).variants.keys()


def test_a_shared_template_has_room_for_all_adapters(converted: Workspace) -> None:
    other = converted.artifacts / "adapters" / "canonical" / "blue"
    shutil.rmtree(other)
    write_adapter(other, modules={"layers.1.attention.wk": 3})
    assert list(_needed(converted).variants.values()) == [("base",), ("blue",), ("red",)]
    path = converted.root / "params.yaml"
    path.write_text(path.read_text().replace("xnnpack:", "xnnpack:\n    templates: shared"))
    own, _ = workspace_stores(converted.root)
    key = keep_template(converted, own, {**SIGNATURE, "layers.1.attention.wk": 3})
    assert _needed(converted).variants[key] == ("blue", "red")
    shutil.rmtree(other)
    after = ("convert-adapter@blue",)
    assert _needed(converted).unknown == {"blue": after, "red": after}


@pytest.mark.parametrize("kind", ["folder", "registry"])
def test_push_and_pull_carry_templates_to_another_workspace(
    converted: Workspace, tmp_path: Path, kind: str
) -> None:
    own, cache = workspace_stores(converted.root)
    key = keep_template(converted, cache, SIGNATURE)
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


def test_push_and_pull_answer_in_json(converted: Workspace, tmp_path: Path) -> None:
    own, cache = workspace_stores(converted.root)
    key = keep_template(converted, cache, SIGNATURE)
    found, place = cache.find(key), tmp_path / "shared"
    assert found is not None
    save_template(found, converted.artifacts / "compile" / "xnnpack" / "some-name")
    assert json.loads(_invoke("push", place, "--json").stdout) == [
        {"name": "some-name", "key": key, "kept_in": str(place / key)}
    ]
    (base,) = (key for key, names in _needed(converted).variants.items() if names == ("base",))
    result = _invoke("pull", place, "--json")
    assert json.loads(result.stdout) == [
        {"key": base, "needed_by": ["base"], "kept_in": None},
        {"key": key, "needed_by": ["blue", "red"], "kept_in": str(own.folder / key)},
    ]
    assert f"base: {place} has no template" in result.stderr


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
    key = keep_template(converted, RegistryTemplates(FileStore(tmp_path / "registry")), SIGNATURE)
    own, _ = workspace_stores(converted.root)
    monkeypatch.setenv("PTEFOUNDRY_TRUST", generate_signer().public.pem.decode())
    with pytest.raises(TrustError, match=r"programs that nobody signs.*--unsigned"):
        _invoke("pull", place)
    assert own.find(key) is None
    _invoke("pull", place, "--unsigned")
    assert own.find(key) is not None


def test_pull_says_what_it_did_not_find(converted: Workspace, tmp_path: Path) -> None:
    keep_template(converted, TemplateStore(tmp_path / "shared"), {"layers.1.attention.wk": 3})
    with pytest.raises(ArtifactError, match="expected templates of this workspace, found none"):
        _invoke("pull", tmp_path / "shared")


def test_pull_names_what_is_missing(converted: Workspace, tmp_path: Path) -> None:
    shared = TemplateStore(tmp_path / "shared")
    keep_template(converted, shared, SIGNATURE)
    (base,) = (key for key, names in _needed(converted).variants.items() if names == ("base",))
    result = _invoke("pull", shared.folder)
    assert result.stdout.startswith("blue, red: ")
    assert f"base: {shared.folder} has no template {base[:16]}" in result.stderr
    shutil.rmtree(converted.canonical_adapter("red"))
    assert "red: its template is known after convert-adapter@red" in (
        _invoke("pull", shared.folder).stderr
    )


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
        shutil.copytree(TEMPLATES / ("adapter" if len(compiled) % 2 else "base"), into)

    monkeypatch.setattr(compiling, "compile_template", compile_template)
    result = _invoke("verify", TEMPLATES)
    assert result.stdout.count("a fresh compilation gives the same bytes") == 2
    assert len(compiled) == 2
    answers = json.loads(_invoke("verify", TEMPLATES, "--json").stdout)
    assert [(row["folder"], row["same"]) for row in answers] == [
        (str(TEMPLATES / name), True) for name in ("adapter", "base")
    ]
    keys = [load_template(TEMPLATES / name).map.recipe.key for name in ("adapter", "base")]
    assert [row["key"] for row in answers] == keys
