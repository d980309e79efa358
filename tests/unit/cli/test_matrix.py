import dataclasses
from pathlib import Path

import pytest

from ptefoundry.cli.graph import PlannedStage
from ptefoundry.cli.matrix import Leg, plan_legs, to_matrix
from ptefoundry.cli.planning import Plan
from ptefoundry.cli.targets import smoke_stage
from ptefoundry.cli.template_list import TemplateRow
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.errors import ConfigError
from ptefoundry.params import Params, load_params

NAMES = tuple(f"a{number}" for number in range(5))


@pytest.fixture
def params(workspace: Path) -> Params:
    loaded = load_params(workspace)
    source = next(iter(loaded.adapters.values()))
    return dataclasses.replace(loaded, adapters=dict.fromkeys(NAMES, source))


def plan_of(*stale: str, templates: tuple[TemplateRow, ...] = ()) -> Plan:
    """A plan in which these stages, and one that is no variant's, would run."""
    stages = tuple(
        PlannedStage(name=name, description="", reasons=("its command changed",), after=())
        for name in (*stale, "build-runner")
    )
    return Plan(
        stages=stages, new_graph=False, removes=(), templates=templates, compiled_methods=()
    )


def row(key: str, *names: str) -> TemplateRow:
    return TemplateRow(key=key, needed_by=names, found_in=None, bytes=1)


def variants(legs: tuple[Leg, ...]) -> list[tuple[str, ...]]:
    return [leg.variants for leg in legs]


def smoke(*names: str, backend: str = "xnnpack") -> list[str]:
    return [smoke_stage(backend, name) for name in names]


def test_nothing_stale_is_no_leg(params: Params) -> None:
    assert to_matrix(plan_legs(params, plan_of(), batch=2)) == {"include": []}


def test_only_what_is_stale_is_built(params: Params) -> None:
    assert variants(plan_legs(params, plan_of(*smoke("a1", "a3")), batch=9)) == [("a1", "a3")]


def test_batches(params: Params) -> None:
    legs = plan_legs(params, plan_of(*smoke("base", *NAMES)), batch=4)
    assert variants(legs) == [("base", "a0", "a1", "a2"), ("a3", "a4")]
    assert [leg.name for leg in legs] == ["xnnpack-1", "xnnpack-2"]


def test_a_leg_has_one_template(params: Params) -> None:
    templates = (row("0", "base"), row("1", "a0", "a2"), row("2", "a1", "a3", "a4"))
    plan = plan_of(*smoke("base", *NAMES), templates=templates)
    assert variants(plan_legs(params, plan, batch=9)) == [("base", "a0", "a2"), ("a1", "a3", "a4")]


def test_the_base_alone(params: Params) -> None:
    assert variants(plan_legs(params, plan_of(*smoke("base")), batch=9)) == [("base",)]


def test_a_coreml_program_is_one_leg(params: Params) -> None:
    backends = dataclasses.replace(params.backends, coreml=CoremlParams())
    both = dataclasses.replace(params, backends=backends)
    stale = smoke("a0") + smoke("base", *NAMES, backend="coreml")
    first, second = plan_legs(both, plan_of(*stale), batch=1)
    assert (first.backend, first.variants) == ("xnnpack", ("a0",))
    assert (second.backend, second.variants) == ("coreml", ("base", *NAMES))


def test_what_a_matrix_says(params: Params) -> None:
    (leg,) = to_matrix(plan_legs(params, plan_of(*smoke("a0", "a1")), batch=9))["include"]
    assert leg == {
        "name": "xnnpack-1",
        "backend": "xnnpack",
        "runner": "ubuntu-24.04",
        "variants": 2,
        "arguments": "--backend xnnpack --adapter a0 --adapter a1",
    }


def test_too_many_legs_are_refused(params: Params) -> None:
    names = [f"many{number}" for number in range(257)]
    source = params.adapters["a0"]
    many = dataclasses.replace(params, adapters=dict.fromkeys(names, source))
    with pytest.raises(ConfigError, match="at most 256 legs, found 257"):
        plan_legs(many, plan_of(*smoke(*names)), batch=1)
    assert len(plan_legs(many, plan_of(*smoke(*names)), batch=2)) == 129
