"""Matching the keys of compiled files with the tensors that went into the compiler.

A key stands for a tensor whose bytes it is the sha256 of (with `scale_` before it
for scales), so tensors must all differ. Whatever stays unmatched on either side is an
error: a tensor that the compiler had changed would be missing here, and could not be
linked.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from ptefoundry.digest import hash_bytes
from ptefoundry.errors import BuildError
from ptefoundry.lowering.encodings import key_prefix
from ptefoundry.lowering.placeholders import Placeholder, PlaceholderModel
from ptefoundry.lowering.ptd import DataFile
from ptefoundry.lowering.pte import Program
from ptefoundry.lowering.segments import PlacedKey, content_digest
from ptefoundry.lowering.template import Entry, Slot


@dataclass(frozen=True)
class Matched:
    """What a template's map tells of the compiled files."""

    slots: tuple[Slot, ...]
    entries: tuple[Entry, ...]
    fixed: bytes
    """The constants of the architecture, one after the other."""


def match_files(placeholders: PlaceholderModel, program: Program, foundation: DataFile) -> Matched:
    """Find every tensor in a program and a foundation that were compiled from it.

    Raises:
        BuildError: a key or a tensor has no partner.
    """
    constants = _constants_by_key(placeholders)
    places = _find_places(program)
    data = {entry.key: entry.offset for entry in program.entries}
    stored = {entry.digest for entry in foundation.entries}
    slots, fixed = [], bytearray()
    for key, constant in constants.items():
        if constant.kind == "fixed" and key not in stored:
            continue  # the program has it in its own constants
        data_at = len(fixed) if constant.kind == "fixed" else data.get(key)
        if constant.kind == "fixed":
            fixed += constant.data
        prefix = key_prefix(constant.encoding)
        digests_at = [at + len(prefix) for at in places[prefix + key]]
        slots.append(_make_slot(constant, key, digests_at, data_at))
    _check_complete(constants, slots, program, foundation)
    entries = tuple(_entries({slot.key: slot for slot in slots}, foundation))
    return Matched(tuple(slots), entries, bytes(fixed))


def _constants_by_key(placeholders: PlaceholderModel) -> dict[str, Placeholder]:
    found: dict[str, Placeholder] = {}
    for constant in placeholders.constants:
        first = found.setdefault(hash_bytes(constant.data), constant)
        # Layers have equal constants of the architecture, the first one names them.
        if first is not constant and constant.kind != "fixed":
            raise BuildError(
                f"{constant.name}: expected a placeholder of its own, found that of {first.name}"
            )
    return found


def _find_places(program: Program) -> defaultdict[str, list[int]]:
    """Key -> byte offsets at which it stands in a program."""
    placed: list[PlacedKey] = [entry.placed_key for entry in program.entries]
    for method in program.methods:
        for delegate in method.delegates:
            placed += delegate.placed_keys
    places = defaultdict(list)
    for one in placed:
        places[one.key].append(one.at)
    return places


def _make_slot(constant: Placeholder, key: str, places: list[int], data_at: int | None) -> Slot:
    return Slot(
        name=constant.name,
        kind=constant.kind,
        source=constant.source,
        encoding=constant.encoding,
        shape=constant.shape,
        size=len(constant.data),
        key=key,
        places=tuple(sorted(places)),
        data_at=data_at,
    )


def _entries(slots: dict[str, Slot], foundation: DataFile) -> Iterator[Entry]:
    for entry in foundation.entries:
        slot, layout = slots[entry.digest], entry.layout
        yield Entry(
            name=None if content_digest(entry.key) == entry.digest else entry.key,
            slot=slot.name,
            scalar_type=layout.scalar_type if layout else None,
            sizes=layout.sizes if layout else (),
            dim_order=layout.dim_order if layout else (),
        )


def _check_complete(
    constants: dict[str, Placeholder], slots: list[Slot], program: Program, foundation: DataFile
) -> None:
    stored = {entry.digest for entry in foundation.entries}
    own = {entry.digest for entry in program.entries}
    lost = [
        slot.name for slot in slots if slot.key not in (own if slot.kind == "adapter" else stored)
    ]
    if lost:
        raise BuildError(
            f"compiled files: expected {len(slots)} tensors of the model as they are, found no "
            f"{', '.join(lost[:3])}; the exporter changes or drops weights, so that they cannot "
            "be linked"
        )
    adapter = {key for key, constant in constants.items() if constant.kind == "adapter"}
    keys = {digest for key in _find_places(program) if (digest := content_digest(key))}
    strange = sorted((keys | stored) - constants.keys()) + sorted(own - adapter)
    if strange:
        raise BuildError(
            f"compiled files: expected tensors of the model only, found {len(strange)} others "
            f"({strange[0]}); the exporter makes constants that follow from weights"
        )
