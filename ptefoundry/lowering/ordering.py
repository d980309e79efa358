"""Checking that a template's map names a base's tensors as its program computes with them.

A map whose two slots of one shape have changed places fits its program, and each linear
would get the weights of the other. Numbers in keys tell an adapter's slots apart (see
`numbering`); a base's are told apart by where they stand: the program's payloads list
constants in the order in which the model computes, layer after layer. What no payload has,
such as norms, the program asks for by name.

So an altered map is found, but not one that was altered together with its program: only
a fresh compilation tells that (`ptefoundry template verify`).
"""

from collections.abc import Iterator
from itertools import zip_longest

from ptefoundry.base.config import LINEARS
from ptefoundry.errors import ArtifactError
from ptefoundry.lowering.encodings import key_prefix
from ptefoundry.lowering.pte import Program
from ptefoundry.lowering.template import Template

#: In the order of a linear's arguments. `LINEARS` has a layer's in the order of its forward
#: pass; a tied head is the embedding table.
_PARTS = ("weight", "scales", "bias")
_HEADS = ("tok_embeddings", "output")


def check_order(template: Template, program: Program) -> None:
    """Compare a map with the program that was linked by it; takes milliseconds.

    Args:
        template: whose map names places and keys.
        program: linked by it; only where its constants stand is looked at.

    Raises:
        ArtifactError: a base's tensor stands, or is asked for, under another's name.
    """
    for entry in template.map.foundation:
        if entry.name not in (None, entry.slot):
            raise _altered(template, "foundation", f"{entry.slot} under its name", entry.name)
    placed = {slot.name for slot in template.map.of_kind("base") if slot.places}
    ordered = [name for name in _computed(template) if name in placed]
    # What no linear has is expected last: where it stands is not known.
    expected = [*ordered, *sorted(placed - {*ordered})]
    for one, other in zip_longest(expected, _placed_slots(template, program)):
        if one != other:
            place = f"{one or 'nothing more'} where the model computes with it"
            raise _altered(template, "slots", place, other)


def _placed_slots(template: Template, program: Program) -> Iterator[str]:
    """Names of a base's slots in the order in which the program's payloads list them."""
    names = {
        at - len(key_prefix(slot.encoding)): slot.name
        for slot in template.map.of_kind("base")
        for at in slot.places
    }
    for method in program.methods:
        for delegate in method.delegates:
            yield from (names[key.at] for key in delegate.placed_keys if key.at in names)


def _computed(template: Template) -> Iterator[str]:
    """All tensors of linears that a base can have, in the order in which it computes."""
    for layer in range(template.map.recipe.architecture["n_layers"]):
        for linear in LINEARS.values():
            yield from (f"layers.{layer}.{linear}.{part}" for part in _PARTS)
    for head in _HEADS:
        yield from (f"{head}.{part}" for part in _PARTS)


def _altered(template: Template, field: str, expected: str, found: str | None) -> ArtifactError:
    return ArtifactError(
        f"{template.where}: {field}: expected {expected}, found {found or 'nothing'}; the template "
        "is altered, compile it or fetch it again"
    )
