"""Templates on disk: nothing of them can be altered unnoticed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.errors import ArtifactError
from ptefoundry.lowering.template import load_template, save_template, stored_ranges, template_name
from support.golden_template import SIGNATURE, TEMPLATES, edit_map

FILES = ("template.json", "program.bin", "fixed.bin")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TEMPLATES / "adapter", tmp_path / "template"))


def test_a_template_is_small_and_tells_what_it_is_for() -> None:
    template = load_template(TEMPLATES / "adapter")
    assert template.map.recipe.signature == SIGNATURE
    # Fine-tunes of one architecture differ in these, and share the template.
    assert "eos_ids" not in template.map.recipe.options
    assert "max_context" not in template.map.recipe.architecture
    matrices = sum(slot.size for slot in template.map.of_kind("adapter"))
    assert matrices == 4 * (8 * 16 + 16 * 8 + 2 * 24 + 16 * 2)
    assert template.map.program_size == len(template.program) + matrices


def test_what_is_saved_loads_and_has_the_same_bytes(tmp_path: Path) -> None:
    save_template(load_template(TEMPLATES / "adapter"), tmp_path / "copy")
    for name in FILES:
        assert (tmp_path / "copy" / name).read_bytes() == (
            TEMPLATES / "adapter" / name
        ).read_bytes()


def test_every_key_and_tensor_is_where_the_map_says() -> None:
    template = load_template(TEMPLATES / "base")
    assert stored_ranges(template.map.slots, template.map.program_size) == [
        (0, len(template.program))
    ]
    for slot in template.map.slots:
        for at in slot.places:
            assert template.program[at : at + 64].decode() == slot.key


def test_templates_are_named_by_signature() -> None:
    assert template_name({}) == "base"
    assert template_name(SIGNATURE) == template_name(dict(reversed(SIGNATURE.items())))
    assert template_name(SIGNATURE) != template_name({**SIGNATURE, "layers.0.attention.wq": 4})


def test_the_key_depends_on_each_part_of_the_recipe() -> None:
    recipes = [load_template(TEMPLATES / name).map.recipe for name in ("base", "adapter")]
    assert recipes[0].key != recipes[1].key
    assert recipes[0].key == load_template(TEMPLATES / "base").map.recipe.key


@pytest.mark.parametrize("name", FILES)
def test_missing_files_are_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: expected a .*template"):
        load_template(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [0, 1, 100, -2])
def test_cut_files_are_refused(folder: Path, name: str, size: int) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ArtifactError, match=name):
        load_template(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_altered_files_are_refused(folder: Path, name: str, part: float) -> None:
    path = folder / name
    data = bytearray(path.read_bytes())
    at = int(len(data) * part)
    data[at] = ord("7") if data[at] != ord("7") else ord("8")
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=name):
        load_template(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"template": 1, "sha256": ""}', '"x"', "\xff"])
def test_other_documents_are_refused(folder: Path, text: str) -> None:
    (folder / "template.json").write_text(text, encoding="latin-1")
    with pytest.raises(ArtifactError, match="expected a template's map"):
        load_template(folder)


def test_another_format_is_named(folder: Path) -> None:
    edit_map(folder, lambda content: content.update(format_version=99))
    with pytest.raises(ArtifactError, match="format_version: expected 2, found 99"):
        load_template(folder)


def _first(content: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(slot for slot in content["slots"] if slot["kind"] == kind)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda content: content["slots"].append(content["slots"][0]), "each name once"),
        (lambda content: content.pop("slots"), "slots"),
        (lambda content: content.update(other=1), "other"),
        (lambda content: _first(content, "base").update(size="big"), "size"),
        (lambda content: _first(content, "base").update(data_at=0), "data_at"),
        (lambda content: _first(content, "adapter").update(data_at=None), "data_at"),
        (lambda content: _first(content, "adapter").update(size=1 << 40), "inside the program"),
        (lambda content: _first(content, "adapter").update(encoding="zip"), "encoding"),
        (lambda content: content["foundation"][0].update(slot="nobody"), "nobody"),
        (lambda content: content["eos_ids_at"].pop(), "eos_ids_at"),
        (lambda content: content["eos_ids_at"].append(0), "eos_ids_at"),
        (lambda content: content["eos_ids_at"].__setitem__(0, 1 << 40), "eos_ids_at"),
        (lambda content: content["eos_ids_at"].__setitem__(1, content["eos_ids_at"][0]), "eos_"),
    ],
)
def test_maps_that_contradict_themselves_are_refused(
    folder: Path, edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    edit_map(folder, edit)
    with pytest.raises(ArtifactError, match=message):
        load_template(folder)


def test_the_map_is_plain_json(folder: Path) -> None:
    document = json.loads((folder / "template.json").read_text())
    assert set(document) == {"sha256", "template"}
