"""The templates that the repository ships, which spare the demo minutes of compiling."""

from dataclasses import asdict
from pathlib import Path

from ptefoundry.digest import hash_json
from ptefoundry.lowering.store import workspace_stores
from ptefoundry.lowering.template import Recipe
from ptefoundry.params import load_params
from ptefoundry.toolchain import describe_section

ROOT = Path(__file__).parents[3]


def _shipped() -> list[Recipe]:
    own, _ = workspace_stores(ROOT)
    return [template.map.recipe for template in map(own.find, own.keys()) if template]


def test_there_is_one_for_the_base_and_one_for_the_adapters() -> None:
    """More would be left over from another toolchain or other options."""
    assert sorted(len(recipe.signature) for recipe in _shipped()) == [0, 210]


def test_they_are_of_this_toolchain_and_of_the_demo_s_options() -> None:
    """Else `ptefoundry build` compiles; `ptefoundry template push` then keeps the new ones."""
    params = load_params(ROOT).backends.xnnpack
    expected = {**asdict(params), "prefill_length": params.prefill, "head": params.head_form}
    del expected["templates"]
    for recipe in _shipped():
        assert recipe.toolchain == hash_json(describe_section("compile"))
        assert {name: recipe.options[name] for name in expected} == expected
