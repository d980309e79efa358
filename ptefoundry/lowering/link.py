"""Linking: putting a base's keys and an adapter's matrices into a compiled template.

Nothing is searched: the template's map tells where each key and each tensor
stands, and every place must hold its placeholder. Without weights of its own, a
program of any base and adapter of the template's shape is a megabyte of copied
bytes and a hash of each matrix.

Equal matrices of an adapter, such as an untrained `lora_b` in every layer, have
one key; it then stands several times in the program's table, each time with its
bytes, and the runtime takes the first. A full export would store them once, and
zeros without what `mark_zeros` says of their shape; in every other case the bytes
are those of a full export, but for the numbers of norms of a base that are equal.
"""

from collections.abc import Mapping
from pathlib import Path

from ptefoundry.adapter.canonical import CanonicalAdapter
from ptefoundry.digest import hash_bytes
from ptefoundry.errors import AdapterError, ArtifactError, VerificationError
from ptefoundry.files import atomic_writer
from ptefoundry.lowering.encodings import encode_fp32
from ptefoundry.lowering.eos import PLACEHOLDERS, fill_ids, read_ids
from ptefoundry.lowering.foundation import Foundation
from ptefoundry.lowering.numbering import check_numbering
from ptefoundry.lowering.ordering import check_order
from ptefoundry.lowering.padding import mark_zeros, pad_matrix, unpadded_shape
from ptefoundry.lowering.readback import check_program
from ptefoundry.lowering.template import Slot, Template, stored_ranges
from ptefoundry.raw_tensors import RawTensors, open_tensors

_PIECE_BYTES = 128 << 10


class Linker:
    """Makes programs of one template over one foundation, one after the other."""

    def __init__(self, template: Template, foundation: Foundation) -> None:
        """Put the keys of the foundation into the template.

        Raises:
            ArtifactError: they do not fit each other, or one of them is altered.
        """
        self._template = template
        self._foundation = foundation
        self._base_keys = {
            tensor.sha256: tensor.slot for tensor in foundation.tensors if tensor.name is None
        }
        # The whole program; each adapter's matrices and keys replace those of the one before.
        self._image = _expand(template)
        self._is_parsed = False
        self._check_placeholders()
        self._fill_eos_ids()
        self._fill_from_foundation()
        check_numbering(template)

    def link(self, adapter: CanonicalAdapter | None, into: Path, *, pad: bool = False) -> None:
        """Write the program of an adapter, or of the base alone, and read it back.

        Args:
            adapter: of the template's signature; None for a template without adapter.
            into: the `.pte` to write.
            pad: take an adapter of lower ranks or fewer linears too, and fill it up with zeros.

        Raises:
            AdapterError: the adapter does not fit the template, is damaged, or has
                a matrix that equals a tensor of the base.
            ArtifactError: the template's map exchanges tensors of the base.
            VerificationError: what was written does not read back as it must.
        """
        self._check_signature(adapter, pad=pad)
        if adapter is not None:
            with open_tensors(adapter.checked_file(), AdapterError) as tensors:
                self._fill_from_adapter(tensors, adapter.modules)
        with atomic_writer(into, check=self._read_back) as file:
            file.write(self._image)

    def _read_back(self, path: Path) -> None:
        """Check what is on the disk: all bytes, and once for the linker what they say.

        Its programs differ in the text of keys and in data alone, at places that are
        the same for all, so that parsing each again would find nothing new.
        """
        if not _has_bytes(path, self._image):
            raise VerificationError(
                f"{path}: expected the bytes that were written, found others; the disk or the "
                "memory of this machine is faulty, run it again"
            )
        if not self._is_parsed:
            foundation = self._foundation
            program = check_program(path, foundation.data, eos_ids=foundation.eos_ids)
            check_order(self._template, program)
            self._is_parsed = True

    def _fill_from_foundation(self) -> None:
        found = {tensor.slot: tensor.size for tensor in self._foundation.tensors}
        slots = {slot.name: slot for slot in self._template.map.slots if slot.kind != "adapter"}
        for name in sorted({*found, *slots}):
            expected = slots[name].size if name in slots else None
            if found.get(name) != expected:
                raise ArtifactError(
                    f"{self._foundation.data.path}: {name}: expected {expected} bytes as in "
                    f"{self._template.where}, found {found.get(name)}; they are of different "
                    "architectures or options, run `ptefoundry build`"
                )
        keys = {tensor.slot: tensor.sha256 for tensor in self._foundation.tensors}
        for name, slot in slots.items():
            if slot.kind == "fixed" and keys[name] != slot.key:
                raise ArtifactError(
                    f"{self._foundation.data.path}: {name}: expected the constant {slot.key} of "
                    f"{self._template.where}, found {keys[name]}; run `ptefoundry build`"
                )
            self._write_key(slot, keys[name])

    def _check_signature(self, adapter: CanonicalAdapter | None, *, pad: bool) -> None:
        modules = adapter.modules if adapter is not None else {}
        expected = self._template.map.recipe.signature
        for path in sorted({*modules, *expected}):
            found, room = modules.get(path, 0), expected.get(path, 0)
            if found != room and not (pad and found < room):
                raise AdapterError(
                    f"{adapter.folder if adapter else 'no adapter'}: {path}: expected rank "
                    f"{room}{' at most' if pad else ''} as in {self._template.where}, found "
                    f"{found}; link it with the template of its own signature"
                )

    def _fill_from_adapter(self, tensors: RawTensors, modules: Mapping[str, int]) -> None:
        slots = {slot.source: slot for slot in self._template.map.of_kind("adapter")}
        shapes = {name: unpadded_shape(slot, modules) for name, slot in slots.items()}
        for name in sorted({*tensors.tensors, *slots}):
            expected = ("F32", shapes[name]) if shapes.get(name) else None
            tensor = tensors.tensors.get(name)
            found = (tensor.dtype, tensor.shape) if tensor else None
            if found != expected:
                raise AdapterError(
                    f"{tensors.path}: {name}: expected {expected}, found {found}; "
                    "convert the adapter again"
                )
        filled: dict[str, Slot] = {}
        for slot in slots.values():
            shape = shapes[slot.source]
            data = b"".join(encode_fp32(tensors, slot.source)) if shape else b""
            padded = pad_matrix(data, shape, slot.shape)
            key = self._fill_slot(slot, mark_zeros(padded, slot.shape))
            _check_same_shape(tensors.path, slot, filled.setdefault(key, slot))

    def _fill_slot(self, slot: Slot, data: bytes) -> str:
        key = hash_bytes(data)
        if key in self._base_keys:
            raise AdapterError(
                f"{slot.source}: expected a matrix that no base tensor equals, found the bytes of "
                f"{self._base_keys[key]}; the runtime refuses a key that program and foundation "
                "both have: train the adapter, or leave this module out of it"
            )
        assert slot.data_at is not None
        self._image[slot.data_at : slot.data_at + slot.size] = data
        self._write_key(slot, key)
        return key

    def _write_key(self, slot: Slot, key: str) -> None:
        for at in slot.places:
            self._image[at : at + len(key)] = key.encode()

    def _fill_eos_ids(self) -> None:
        where, places = self._template.where, self._template.map.eos_ids_at
        if (found := read_ids(self._image, places)) != PLACEHOLDERS:
            raise ArtifactError(
                f"{where}: eos_ids_at: expected the placeholders {PLACEHOLDERS}, found {found}; "
                "the template is altered, compile it or fetch it again"
            )
        fill_ids(self._image, places, self._foundation.eos_ids)

    def _check_placeholders(self) -> None:
        for slot in self._template.map.slots:
            expected = slot.key.encode()
            for at in slot.places:
                found = bytes(self._image[at : at + len(expected)])
                if found != expected:
                    raise ArtifactError(
                        f"{self._template.where}: {slot.name}: expected its placeholder's key at "
                        f"byte {at}, found {found!r}; the template is altered, compile it or "
                        "fetch it again"
                    )


def _check_same_shape(path: Path, slot: Slot, other: Slot) -> None:
    if slot.shape != other.shape:
        raise AdapterError(
            f"{path}: {slot.source}: expected a matrix whose bytes no other of another shape has, "
            f"found those of {other.source}, {list(other.shape)} instead of {list(slot.shape)}; "
            "the runtime keeps packed weights by their bytes alone and would take one for the "
            "other: train the adapter, or leave one of the two modules out of it"
        )


def _has_bytes(path: Path, expected: bytearray) -> bool:
    at = 0
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE_BYTES):
            if not expected.startswith(piece, at):
                return False
            at += len(piece)
    return at == len(expected)


def _expand(template: Template) -> bytearray:
    """The whole program, with zeros for an adapter's data."""
    content = template.map
    image, at = bytearray(content.program_size), 0
    for begin, end in stored_ranges(content.slots, content.program_size):
        image[begin:end] = template.program[at : at + end - begin]
        at += end - begin
    if at != len(template.program) or len(image) != content.program_size:
        raise ArtifactError(
            f"{template.where}: expected {at} bytes of program, found {len(template.program)}; "
            "the template is altered, compile it or fetch it again"
        )
    return image
