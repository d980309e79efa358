"""Maps whose names stand in another order than the model computes."""

import dataclasses
import itertools
from pathlib import Path

import msgspec
import pytest

from ptefoundry.errors import ArtifactError
from ptefoundry.lowering.numbering import check_numbering
from ptefoundry.lowering.ordering import check_order
from ptefoundry.lowering.pte import Delegate, Method, Program
from ptefoundry.lowering.segments import PlacedKey
from ptefoundry.lowering.template import Slot, Template, load_template
from support.golden_template import TEMPLATES

_LAYER = (
    *("attention.wq.weight", "attention.wq.scales", "attention.wq.bias"),
    *("attention.wk.weight", "attention.wv.weight", "attention.wo.weight"),
    *("feed_forward.w1.weight", "feed_forward.w3.weight", "feed_forward.w2.weight"),
)
NAMES = (*(f"layers.{layer}.{name}" for layer in range(11) for name in _LAYER), "output.weight")


def _slot(name: str, *places: int) -> Slot:
    is_scales = name.endswith(".scales")
    return Slot(
        name=name,
        kind="base",
        source=name.replace(".scales", ".weight"),
        encoding="linear 8da4w,32 scales" if is_scales else "fp32",
        shape=(4, 4),
        size=64,
        key="",
        places=places,
    )


def _template(*slots: Slot, tied: bool = False) -> Template:
    """The golden one of a base with other slots and eleven layers."""
    template = load_template(TEMPLATES / "base")
    changes = {"n_layers": 11, "tied_embeddings": tied}
    architecture = {**template.map.recipe.architecture, **changes}
    recipe = msgspec.structs.replace(template.map.recipe, architecture=architecture)
    content = msgspec.structs.replace(template.map, recipe=recipe, slots=slots, foundation=())
    return dataclasses.replace(template, map=content)


def _program(*places: int) -> Program:
    """One whose two payloads have keys at byte offsets."""
    keys = [PlacedKey("", at) for at in places]
    delegates = tuple(
        Delegate("XnnpackBackend", memoryview(b""), tuple(part)) for part in (keys[:3], keys[3:])
    )
    forward = Method("forward", (), (), (), delegates, (), 0)
    return Program(Path("program.pte"), 0, (forward,), ())


def _place(number: int, name: str) -> int:
    """Where the digest of a key stands; that of scales has a prefix of six bytes."""
    return 100 * number + (6 if name.endswith(".scales") else 0)


def test_a_model_s_order_is_accepted() -> None:
    slots = [_slot(name, _place(number, name)) for number, name in enumerate(NAMES)]
    # Between them stand what no slot has: constants of the architecture and an adapter's.
    places = sorted([*range(0, 100 * len(NAMES), 100), 150, 250])
    check_order(_template(*reversed(slots), _slot("norm.weight")), _program(*places))


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.pairwise(name for name in NAMES if "scales" not in name))
)
def test_each_exchange_of_two_neighbours_is_refused(one: str, other: str) -> None:
    places = {name: _place(number, name) for number, name in enumerate(NAMES)}
    places[one], places[other] = places[other], places[one]
    template = _template(*(_slot(name, at) for name, at in places.items()))
    with pytest.raises(ArtifactError, match=f"slots: expected {one} where .* found {other};"):
        check_order(template, _program(*range(0, 100 * len(NAMES), 100)))


def test_what_no_linear_has_is_refused() -> None:
    slots = (_slot("layers.0.attention.wx.weight", 0), _slot("layers.1.attention.wq.weight", 100))
    with pytest.raises(ArtifactError, match=r"expected layers\.1.*wq\.weight where .* found .*wx"):
        check_order(_template(*slots), _program(0, 100))


@pytest.mark.parametrize("name", ["layers.0.attention.wk.weight", "norm.weight"])
def test_a_place_that_no_payload_reads_is_refused(name: str) -> None:
    slots = (_slot("layers.0.attention.wq.weight", 0), _slot(name, 104))
    with pytest.raises(ArtifactError, match=f"expected {name} where .*, found nothing;"):
        check_order(_template(*slots), _program(0, 100))


def test_two_places_of_one_tensor_are_refused() -> None:
    template = _template(_slot("layers.0.attention.wq.weight", 0, 100))
    with pytest.raises(ArtifactError, match=r"expected nothing more where .*, found .*wq\.weight;"):
        check_order(template, _program(0, 100))


@pytest.mark.parametrize(
    ("name", "source", "tied", "expected"),
    [
        ("layers.0.attention.wk.scales", "layers.0.attention.wk.weight", False, True),
        ("layers.0.attention.wk.scales", "layers.0.attention.wv.weight", False, False),
        ("layers.0.attention.wk.scales", "layers.0.attention.wk.scales", False, False),
        ("tok_embeddings.scales", "tok_embeddings.weight", True, True),
        ("output.scales", "tok_embeddings.weight", True, True),
        ("output.scales", "tok_embeddings.weight", False, False),
        ("output.scales", "output.weight", False, True),
        ("output.weight", "output.weight", True, False),
        ("output.weight", "layers.0.attention.wk.weight", False, False),
    ],
)
def test_a_tensor_is_made_of_the_one_of_its_name(
    name: str, source: str, *, tied: bool, expected: bool
) -> None:
    template = _template(msgspec.structs.replace(_slot(name), source=source), tied=tied)
    if expected:
        check_numbering(template)
        return
    with pytest.raises(ArtifactError, match=f"{name}: expected the tensor of its name, found"):
        check_numbering(template)
