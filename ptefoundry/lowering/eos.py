"""The ids that end an answer: a template has placeholders for them, linking fills them in.

They are the tokenizer's, and fine-tunes of one architecture differ in them. `get_eos_ids` of
a program returns as many numbers as there are placeholders, so a base with fewer ids has its
last one several times.
"""

import json
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from ptefoundry.errors import BuildError, CheckpointError
from ptefoundry.lowering.pte import Program

METHOD = "get_eos_ids"
EOS_COUNT = 8
#: Unlike any token's id, none of them 0, which a program leaves out.
PLACEHOLDERS = tuple(0x656F735F69640000 + number for number in range(1, EOS_COUNT + 1))
_NUMBER = struct.Struct("<q")


def load_eos_ids(base: Path) -> tuple[int, ...]:
    """The ids of a canonical base, as a program has them.

    Raises:
        CheckpointError: its tokenizer has none, or more than a program has room for.
    """
    path = base / "tokenizer" / "chat.json"
    try:
        ids = [int(number) for number in json.loads(path.read_text())["eos_token_ids"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path}: expected eos_token_ids ({error!r}); convert the base again"
        ) from error
    if not 1 <= len(ids) <= EOS_COUNT:
        raise CheckpointError(
            f"{path}: eos_token_ids: expected 1 to {EOS_COUNT} ids, found {len(ids)}; a program "
            f"has room for {EOS_COUNT}: leave out of the base's eos_token_id what no answer ends "
            "with"
        )
    return (*ids, *ids[-1:] * (EOS_COUNT - len(ids)))


def find_places(program: Program) -> tuple[int, ...]:
    """Byte offsets of the placeholders, in their order.

    Raises:
        BuildError: they are not where a program's metadata is read.
    """
    found, places = program.constants.get(METHOD), integers_at(program)
    if found != PLACEHOLDERS or len(places) != EOS_COUNT:
        raise BuildError(
            f"{program.path}: {METHOD}: expected {PLACEHOLDERS} at {EOS_COUNT} places, found "
            f"{found} at {len(places)}; the exporter changes metadata, so that it cannot be "
            "linked: use the version of executorch in requirements.lock"
        )
    return places


def integers_at(program: Program) -> tuple[int, ...]:
    """Byte offsets of the ids of a program, less those that are 0."""
    return next((one.integers_at for one in program.methods if one.name == METHOD), ())


def read_ids(image: bytes | bytearray, places: Iterable[int]) -> tuple[int, ...]:
    """The numbers that stand at byte offsets of a program."""
    return tuple(_NUMBER.unpack_from(image, at)[0] for at in places)


def fill_ids(image: bytearray, places: Iterable[int], ids: Sequence[int]) -> None:
    """Write numbers to byte offsets of a program."""
    for at, number in zip(places, ids, strict=True):
        _NUMBER.pack_into(image, at, number)
