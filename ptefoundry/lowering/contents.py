"""The bytes of a foundation's tensors, as often as they are asked for.

Keys are digests, so tensors are read twice. Those of integers are quantized only once,
which takes far longer than reading, and wait in a scratch file.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from ptefoundry.lowering.encodings import encode_parts, find_encoding, split_part
from ptefoundry.lowering.template import Slot, Template
from ptefoundry.raw_tensors import RawTensors

_PIECE_BYTES = 8 << 20


@contextmanager
def open_contents(
    tensors: RawTensors, template: Template, slots: Sequence[Slot], folder: Path
) -> Iterator["Contents"]:
    """Give access to the bytes of slots, with a scratch file in a folder if one is needed."""
    with tempfile.TemporaryFile(dir=folder) as scratch:
        yield Contents(tensors, template, slots, scratch.fileno())


class Contents:
    """The bytes of a template's slots for one base."""

    def __init__(
        self, tensors: RawTensors, template: Template, slots: Sequence[Slot], scratch: int
    ) -> None:
        """See `open_contents`; `scratch` is the descriptor of an empty file."""
        self._tensors = tensors
        self._fixed = template.fixed
        self._slots = slots
        self._scratch = scratch
        self._places: dict[str, int] = {}
        """Where in the scratch file a slot's bytes are."""
        at = 0
        for slot in slots:
            if split_part(slot.encoding):
                self._places[slot.name] = at
                at += slot.size

    def digests(self) -> dict[str, str]:
        """The sha256 of each slot, by name. Call it before `pieces`."""
        groups: dict[tuple[str, str], list[Slot]] = {}
        for slot in self._slots:
            split = split_part(slot.encoding)
            groups.setdefault((slot.source, split[0]) if split else (slot.name, ""), []).append(
                slot
            )
        # Hashing lets go of the interpreter's lock, and so does quantizing.
        with ThreadPoolExecutor() as pool:
            found = pool.map(self._hash_group, groups, groups.values())
            return {name: digest for group in found for name, digest in group.items()}

    def pieces(self, slot: Slot) -> Iterator[bytes]:
        """The bytes of a slot, in order, some megabytes at a time."""
        if slot.name in self._places:
            yield from self._read_scratch(slot)
        elif slot.kind == "fixed":
            assert slot.data_at is not None
            yield self._fixed[slot.data_at : slot.data_at + slot.size]
        else:
            encode = find_encoding(slot.encoding)
            assert encode is not None  # the map was checked
            yield from encode(self._tensors, slot.source)

    def _hash_group(self, group: tuple[str, str], slots: list[Slot]) -> dict[str, str]:
        source, shared = group
        hashers = {slot.name: sha256() for slot in slots}
        if not shared:
            (slot,) = slots
            for piece in self.pieces(slot):
                hashers[slot.name].update(piece)
            return {slot.name: hashers[slot.name].hexdigest()}
        ends = {slot.name: self._places[slot.name] for slot in slots}
        for block in encode_parts(self._tensors, source, shared):
            for slot in slots:
                split = split_part(slot.encoding)
                assert split is not None
                data = block[split[1]]
                hashers[slot.name].update(data)
                ends[slot.name] = _write(self._scratch, data, ends[slot.name])
        return {name: hasher.hexdigest() for name, hasher in hashers.items()}

    def _read_scratch(self, slot: Slot) -> Iterator[bytes]:
        at = self._places[slot.name]
        end = at + slot.size
        while at < end:
            piece = os.pread(self._scratch, min(end - at, _PIECE_BYTES), at)
            assert piece
            at += len(piece)
            yield piece


def _write(descriptor: int, data: bytes, at: int) -> int:
    """Write all bytes at an offset; returns where they end."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written
    return at
