"""Checking that a template's map names its placeholders as they were numbered.

A map whose two slots of one shape have changed places fits its program, and would put
each matrix where the other belongs. But a placeholder is its number and zeros behind
it, and numbers follow the names, so its key tells which tensor it stands for.

Only an adapter's are looked at: hashing all of a base's, gigabytes of zeros, would
take longer than linking. A base's are told apart by where they stand, see `ordering`.
"""

import struct
from hashlib import sha256

from ptefoundry.errors import ArtifactError
from ptefoundry.lowering.encodings import FP32
from ptefoundry.lowering.template import Recipe, Slot, Template

_OUTPUT, _EMBEDDINGS = "output.weight", "tok_embeddings.weight"


def check_numbering(template: Template) -> None:
    """Check the names of all slots, and the keys of an adapter's; takes milliseconds.

    Raises:
        ArtifactError: a slot is called by another's name, or has the key of another.
    """
    slots = list(template.map.of_kind("adapter"))
    expected = [
        f"{path}.{matrix}"
        for path in sorted(template.map.recipe.signature)
        for matrix in ("lora_a", "lora_b")
    ]
    found = [slot.source for slot in slots]
    if found != expected:
        wrong = next((one for one in found if one not in expected), "another order or number")
        raise _altered(template, "slots", f"those of its signature in their order, found {wrong}")
    for slot in template.map.slots:
        if slot.source != _source_of(slot.name, template.map.recipe):
            raise _altered(template, slot.name, f"the tensor of its name, found {slot.source}")
    first = _first_number(template, slots[0]) if slots else 0
    for number, slot in enumerate(slots, first):
        if slot.encoding == FP32 and slot.key != _placeholder_key(number, slot.size):
            raise _altered(template, slot.name, f"the key of placeholder {number}, found another")


def _source_of(name: str, recipe: Recipe) -> str:
    """The canonical tensor that a slot is made of."""
    stem, _, part = name.rpartition(".")
    source = f"{stem}.weight" if part == "scales" else name
    # A tied head that is not quantized like its table has a slot of its own.
    is_tied = source == _OUTPUT and recipe.architecture["tied_embeddings"]
    return _EMBEDDINGS if is_tied else source


def _first_number(template: Template, slot: Slot) -> int:
    """A base's placeholders come first, one for each slot; a quantized table has one for 2 or 3."""
    count = sum(1 for _slot in template.map.of_kind("base"))
    numbers = (count - 1, count, count + 1)
    return next((n for n in numbers if slot.key == _placeholder_key(n, slot.size)), count + 1)


def _placeholder_key(number: int, size: int) -> str:
    return sha256(struct.pack("<f", number).ljust(size, b"\x00")).hexdigest()


def _altered(template: Template, field: str, expected: str) -> ArtifactError:
    return ArtifactError(
        f"{template.where}: {field}: expected {expected}; the template is altered, compile it or "
        "fetch it again"
    )
