"""Program templates that builders share through a registry."""

import dataclasses

import pytest

from ptefoundry.errors import ArtifactError, ConflictError, RegistryError
from ptefoundry.lowering.template import FIXED_FILE, MAP_FILE, PROGRAM_FILE, Template, load_template
from ptefoundry.registry.fsck import check_registry
from ptefoundry.registry.names import template_key
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.templates import RegistryTemplates
from support.golden_template import TEMPLATES
from support.layouts import empty_registry

FILES = (PROGRAM_FILE, FIXED_FILE, MAP_FILE)


@pytest.fixture
def template() -> Template:
    return load_template(TEMPLATES / "adapter")


@pytest.fixture
def store() -> MemoryStore:
    return empty_registry()


def key_of(template: Template) -> str:
    return template.map.recipe.key


def test_what_was_added_is_found(store: MemoryStore, template: Template) -> None:
    templates, key = RegistryTemplates(store), key_of(template)
    assert templates.find(key) is None
    assert templates.add(template) == f"{store.url}templates/{key}/"
    found = templates.find(key)
    assert found is not None
    assert (found.map, found.program, found.fixed) == (
        template.map,
        template.program,
        template.fixed,
    )
    assert templates.find("0" * 64) is None


def test_the_same_is_added_twice_and_fsck_knows_it(store: MemoryStore, template: Template) -> None:
    for _ in range(2):
        RegistryTemplates(store).add(template)
    assert list(check_registry(store).findings) == []


def test_another_compilation_of_the_same_recipe_is_refused(
    store: MemoryStore, template: Template
) -> None:
    RegistryTemplates(store).add(template)
    other = dataclasses.replace(template, program=template.program + b"\0")
    with pytest.raises(ConflictError, match=f"{PROGRAM_FILE}: .*compile differently"):
        RegistryTemplates(store).add(other)


def test_a_push_that_was_killed_shows_nothing_and_goes_on(
    store: MemoryStore, template: Template
) -> None:
    templates, key = RegistryTemplates(store), key_of(template)
    templates.add(template)
    store.delete(template_key(key, MAP_FILE))
    store.delete(template_key(key, FIXED_FILE))
    assert templates.find(key) is None
    templates.add(template)
    assert templates.find(key) is not None


@pytest.mark.parametrize("file", [PROGRAM_FILE, FIXED_FILE])
def test_what_is_lost_or_altered_is_named(
    store: MemoryStore, template: Template, file: str
) -> None:
    templates, key = RegistryTemplates(store), key_of(template)
    templates.add(template)
    place = template_key(key, file)
    data, _ = store.read(place, limit=1 << 20)
    store.delete(place)
    with pytest.raises(RegistryError, match=f"{file}: expected a file of this template"):
        templates.find(key)
    store.create(place, bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(ArtifactError, match=file):
        templates.find(key)


def test_a_template_under_another_key_is_refused(store: MemoryStore, template: Template) -> None:
    RegistryTemplates(store).add(template)
    other = "0" * 64
    for file in FILES:
        data, _ = store.read(template_key(key_of(template), file), limit=1 << 20)
        store.create(template_key(other, file), data)
    with pytest.raises(RegistryError, match=f"found that of {key_of(template)}"):
        RegistryTemplates(store).find(other)
