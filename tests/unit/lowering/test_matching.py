"""What a compiler may have done to the tensors that went into it."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.digest import hash_bytes
from ptefoundry.errors import BuildError
from ptefoundry.lowering.matching import Matched, match_files
from ptefoundry.lowering.placeholders import Placeholder, PlaceholderModel
from ptefoundry.lowering.ptd import DataFile
from ptefoundry.lowering.pte import Delegate, Method, Program
from ptefoundry.lowering.segments import Blob, NamedData, PlacedKey
from ptefoundry.lowering.template import Entry, Kind


class Stored:
    """As much of a tensor as a placeholder's bytes need."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def numpy(self) -> bytes:
        return self._data


def _constant(kind: Kind, name: str, data: bytes, encoding: str = "fp32") -> Placeholder:
    tensor: Any = Stored(data)
    return Placeholder(name, kind, name, encoding, (len(data) // 4,), tensor)


W, SCALES = (
    _constant("base", "w", b"w" * 8),
    _constant("base", "s", b"s" * 4, "linear 8da4w,32 scales"),
)
NORM = _constant("base", "norm", b"n" * 4)
LORA = _constant("adapter", "lora", b"l" * 8)
SWAP = _constant("fixed", "swap", b"x" * 12)
OWN = _constant("fixed", "own", b"o" * 4)
"""A constant of the architecture that a program keeps for itself."""
MODEL = (W, SCALES, NORM, LORA, SWAP, OWN)
STRANGER = _constant("base", "stranger", b"?" * 4)


def _key(constant: Placeholder) -> str:
    return f"{'scale_' if constant is SCALES else ''}{hash_bytes(constant.data)}"


def _entry(constant: Placeholder, *, key: str | None = None, at: int = 0) -> NamedData:
    placed = PlacedKey(key or _key(constant), at)
    return NamedData(placed, 0, 1000 + at, Blob(constant.data), None)


def _program(taken: tuple[Placeholder, ...], *own: NamedData) -> Program:
    """One that has the keys of what a delegate takes every 100 bytes."""
    keys = tuple(PlacedKey(_key(one), 100 * number) for number, one in enumerate(taken))
    delegate = Delegate("XnnpackBackend", memoryview(b""), keys)
    forward = Method("forward", (), (), (), (delegate,), ("norm",), 0)
    return Program(Path("program.pte"), 0, (forward,), own)


TAKEN = (W, SCALES, LORA, SWAP)
PROGRAM = _program(TAKEN, _entry(LORA, at=777))
FOUNDATION = DataFile(
    Path("foundation.ptd"), 0, (_entry(SWAP), _entry(W), _entry(SCALES), _entry(NORM, key="norm"))
)


def _match(
    constants: tuple[Placeholder, ...] = MODEL,
    program: Program = PROGRAM,
    foundation: DataFile = FOUNDATION,
) -> Matched:
    model: Any = None
    return match_files(PlaceholderModel(model, constants), program, foundation)


def _foundation(*entries: NamedData) -> DataFile:
    return dataclasses.replace(FOUNDATION, entries=entries)


def test_every_tensor_is_found() -> None:
    matched = _match()
    assert {slot.name: (slot.places, slot.data_at) for slot in matched.slots} == {
        "w": ((0,), None),
        "s": ((106,), None),
        "norm": ((), None),
        "lora": ((200, 777), 1777),
        "swap": ((300,), 0),
    }
    assert matched.fixed == SWAP.data
    assert matched.entries == (
        Entry(name=None, slot="swap"),
        Entry(name=None, slot="w"),
        Entry(name=None, slot="s"),
        Entry(name="norm", slot="norm"),
    )


def test_layers_share_constants_of_the_architecture() -> None:
    assert _match((*MODEL, dataclasses.replace(SWAP, name="swap of layer 1"))) == _match()


@pytest.mark.parametrize("twin", [W, LORA], ids=["base", "adapter"])
def test_a_placeholder_that_another_equals_is_refused(twin: Placeholder) -> None:
    again = dataclasses.replace(twin, name="again")
    message = f"^again: expected a placeholder of its own, found that of {twin.name}$"
    with pytest.raises(BuildError, match=message):
        _match((*MODEL, again))


@pytest.mark.parametrize("lost", [W, SCALES, NORM], ids=lambda one: one.name)
def test_a_base_s_tensor_that_is_not_in_the_foundation_is_refused(lost: Placeholder) -> None:
    entries = (one for one in FOUNDATION.entries if one.digest != hash_bytes(lost.data))
    with pytest.raises(
        BuildError, match=f"expected 5 tensors .* as they are, found no {lost.name};"
    ):
        _match(foundation=_foundation(*entries))


def test_a_matrix_that_is_not_in_the_program_is_refused() -> None:
    with pytest.raises(BuildError, match=r"expected 5 tensors .* as they are, found no lora;"):
        _match(program=_program(TAKEN))
    # Nor will it do that the foundation has it, which all adapters share.
    with pytest.raises(BuildError, match=r"expected 5 tensors .* as they are, found no lora;"):
        _match(program=_program(TAKEN), foundation=_foundation(*FOUNDATION.entries, _entry(LORA)))


_OTHERS = f"expected tensors of the model only, found 1 others .{hash_bytes(STRANGER.data)}."


def test_a_constant_that_the_delegate_made_is_refused() -> None:
    with pytest.raises(BuildError, match=_OTHERS):
        _match(program=_program((*TAKEN, STRANGER), *PROGRAM.entries))


@pytest.mark.parametrize("key", [None, "a_name"])
def test_other_tensors_in_the_foundation_are_refused(key: str | None) -> None:
    with pytest.raises(BuildError, match=_OTHERS):
        _match(foundation=_foundation(*FOUNDATION.entries, _entry(STRANGER, key=key)))


def test_other_tensors_in_the_program_are_refused() -> None:
    with pytest.raises(BuildError, match=_OTHERS):
        _match(program=_program(TAKEN, *PROGRAM.entries, _entry(STRANGER, key="a_name")))
    # A base's would be stored once more for every adapter.
    with pytest.raises(BuildError, match="expected tensors of the model only, found 1 others"):
        _match(program=_program(TAKEN, *PROGRAM.entries, _entry(W, at=800)))
