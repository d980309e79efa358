"""Stores of templates, and that a build compiles nothing that one of them has."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.errors import ArtifactError, ConflictError, VerificationError
from ptefoundry.lowering import compile as compiling
from ptefoundry.lowering.store import TemplateStore, obtain_template, verify_template
from ptefoundry.lowering.template import Template, load_template, save_template
from ptefoundry.lowering.templates import build_templates
from support.golden_template import TEMPLATES, edit_map


@pytest.fixture
def template() -> Template:
    return load_template(TEMPLATES / "adapter")


@pytest.fixture
def store(tmp_path: Path) -> TemplateStore:
    return TemplateStore(tmp_path / "store")


def _never(*_arguments: object) -> None:
    raise AssertionError


def test_what_was_added_is_found(store: TemplateStore, template: Template) -> None:
    key = template.map.recipe.key
    assert store.find(key) is None
    assert list(store.keys()) == []
    folder = store.add(template)
    found = store.find(key)
    assert found is not None
    assert dataclasses.replace(found, where=template.where) == template
    assert list(store.keys()) == [key]
    assert store.size(key) == sum(file.stat().st_size for file in folder.iterdir())
    assert store.add(template) == folder
    assert [path.name for path in store.folder.iterdir()] == [key]


def test_adding_what_another_process_adds_meanwhile(
    store: TemplateStore, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, asked = TemplateStore.find, []

    def find_nothing_at_first(store: TemplateStore, key: str) -> Template | None:
        asked.append(key)
        return find(store, key) if len(asked) > 1 else None

    store.add(template)
    monkeypatch.setattr(TemplateStore, "find", find_nothing_at_first)
    store.add(template)
    assert len(asked) > 1
    assert list(store.keys()) == [template.map.recipe.key]
    assert [path.name for path in store.folder.iterdir()] == [template.map.recipe.key]


def test_what_is_left_of_a_template_is_replaced(store: TemplateStore, template: Template) -> None:
    folder = store.add(template)
    for file in ("program.bin", "template.json"):
        (folder / file).unlink()
    assert store.find(folder.name) is None
    assert store.add(template) == folder
    found = store.find(folder.name)
    assert found is not None
    assert found.program == template.program
    assert list(store.folder.iterdir()) == [folder]


def test_another_template_under_the_same_key_is_refused(
    store: TemplateStore, template: Template
) -> None:
    folder = store.add(template)
    edit_map(folder, lambda content: content["slots"].reverse())
    with pytest.raises(ConflictError, match="found another for the same toolchain"):
        store.add(template)
    assert load_template(folder).map.slots == template.map.slots[::-1]


def test_the_first_store_that_has_it_gives_it(
    store: TemplateStore, template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(template)
    monkeypatch.setattr(compiling, "compile_template", _never)
    for stores in (
        [store, TemplateStore(tmp_path / "empty")],
        [TemplateStore(tmp_path / "empty"), store],
    ):
        assert obtain_template(template.map.recipe, stores).map == template.map
    build_templates([template.map.recipe], [store], tmp_path / "built")
    (folder,) = (tmp_path / "built").iterdir()
    assert load_template(folder).map == template.map


def test_what_was_compiled_is_kept_in_the_last_store(
    store: TemplateStore, template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Any] = []

    def compile_template(recipe: Any, into: Path) -> None:
        compiled.append(recipe)
        save_template(template, into)

    monkeypatch.setattr(compiling, "compile_template", compile_template)
    stores = [TemplateStore(tmp_path / "first"), store]
    for _ in range(2):
        assert obtain_template(template.map.recipe, stores).map == template.map
    assert compiled == [template.map.recipe]
    assert list(store.keys()) == [template.map.recipe.key]
    assert not (tmp_path / "first").exists()


def test_a_template_under_another_key_is_refused(store: TemplateStore, template: Template) -> None:
    other = load_template(TEMPLATES / "base")
    save_template(template, store.folder / other.map.recipe.key)
    with pytest.raises(ArtifactError, match="expected the template of this key"):
        store.find(other.map.recipe.key)


def test_a_damaged_template_is_refused_and_not_replaced(
    store: TemplateStore, template: Template
) -> None:
    path = store.add(template) / "program.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"program\.bin: sha256"):
        obtain_template(template.map.recipe, [store])
    with pytest.raises(ArtifactError, match=r"program\.bin: sha256"):
        store.add(template)


def test_verifying_compares_with_a_fresh_compilation(
    store: TemplateStore, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(template, fixed=bytes(len(template.fixed)))
    monkeypatch.setattr(
        compiling, "compile_template", lambda _recipe, into: save_template(template, into)
    )
    verify_template(template, store)
    with pytest.raises(VerificationError, match="expected the fixed that a fresh compilation"):
        verify_template(other, store)
    assert list(store.folder.iterdir()) == []
