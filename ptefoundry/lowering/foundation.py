"""Writing `foundation.ptd` from a canonical base, as an export would have written it.

No compiler is needed: a template's map tells the order of the keys, and the keys
of delegated tensors are the sha256 of their bytes. So tensors are read twice, a
piece at a time: for their digests, then for their bytes (`contents.py`).

`foundation.json` beside it tells which key each tensor got; equal tensors share
one, so the data file alone does not say that.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from ptefoundry.base.config import load_config
from ptefoundry.errors import ArtifactError, CheckpointError
from ptefoundry.files import atomic_writer, versioned_json, write_json
from ptefoundry.lowering.contents import open_contents
from ptefoundry.lowering.encodings import key_prefix
from ptefoundry.lowering.eos import load_eos_ids
from ptefoundry.lowering.flat_tensor import DataKey, DataLayout, lay_out
from ptefoundry.lowering.ptd import DataFile, read_ptd
from ptefoundry.lowering.readback import check_foundation
from ptefoundry.lowering.segments import TensorLayout
from ptefoundry.lowering.template import Entry, Slot, Template, architecture_of
from ptefoundry.raw_tensors import RawTensors, open_tensors
from ptefoundry.report import progress

FOUNDATION_FILE, INDEX_FILE = "foundation.ptd", "foundation.json"
FORMAT_VERSION = 3


@dataclass(frozen=True)
class FoundationTensor:
    """One tensor of a foundation."""

    slot: str
    """Canonical name, as in a template's map."""
    name: str | None
    """Its key, None where that is the digest."""
    encoding: str
    """How its bytes were made; see `ptefoundry.lowering.encodings`."""
    sha256: str
    size: int
    """Bytes."""

    @property
    def key(self) -> str:
        """What programs ask for."""
        return self.name or self.sha256


@dataclass(frozen=True)
class Foundation:
    """A foundation's index and data file."""

    data: DataFile
    tensors: tuple[FoundationTensor, ...]
    eos_ids: tuple[int, ...]
    """What ends an answer of the base, as its programs have it."""


def write_foundation(base: Path, template: Template, into: Path) -> None:
    """Write `foundation.ptd` and `foundation.json` of a canonical base into a folder.

    Memory stays at some megabytes, whatever the size of the base. What is quantized takes its
    size on the disk twice while this runs.

    Raises:
        CheckpointError: the base is damaged or not of the template's architecture, has two
            tensors that the runtime would take for each other, or too many ids that end answers.
        VerificationError: what was written does not read back as it must.
    """
    _check_architecture(base, template)
    eos_ids = load_eos_ids(base)
    slots = {slot.name: slot for slot in template.map.slots if slot.kind != "adapter"}
    with (
        open_tensors(base / "model.safetensors", CheckpointError) as tensors,
        open_contents(tensors, template, list(slots.values()), into) as contents,
    ):
        _check_tensors(tensors, template)
        digests = contents.digests()
        _check_packed_alike(tensors, template, slots, digests)
        by_digest = {digest: slots[name] for name, digest in digests.items()}
        segments = list(dict.fromkeys(digests[entry.slot] for entry in template.map.foundation))
        layout = _lay_out(template, digests, segments, by_digest)
        with (
            progress("foundation", sum(segment.size for segment in layout.segments)) as advance,
            atomic_writer(into / FOUNDATION_FILE, check=check_foundation) as file,
        ):
            file.write(layout.head)
            for digest, segment in zip(segments, layout.segments, strict=True):
                file.write(bytes(segment.offset - file.tell()))
                for piece in contents.pieces(by_digest[digest]):
                    file.write(piece)
                    advance(len(piece))
    index = [
        _describe(entry, slots[entry.slot], digests[entry.slot])
        for entry in template.map.foundation
    ]
    document = {"tensors": [asdict(tensor) for tensor in index], "eos_ids": eos_ids}
    write_json(into / INDEX_FILE, {"format_version": FORMAT_VERSION, **document})


def load_foundation(folder: Path) -> Foundation:
    """Open what `write_foundation` wrote; the data itself is not read.

    Raises:
        ArtifactError: a file is missing, altered or cut, or they do not fit each other.
    """
    path, data = folder / INDEX_FILE, read_ptd(folder / FOUNDATION_FILE)
    with versioned_json(
        path,
        FORMAT_VERSION,
        what="a foundation's index",
        remedy="run `ptefoundry build`",
        error=ArtifactError,
    ) as document:
        tensors = tuple(FoundationTensor(**fields) for fields in document["tensors"])
        eos_ids = tuple(int(number) for number in document["eos_ids"])
    # Equal tensors share a key, which stands where the first of them is.
    expected = list(dict.fromkeys((tensor.key, tensor.size) for tensor in tensors))
    if expected != [(entry.key, entry.size) for entry in data.entries]:
        raise ArtifactError(
            f"{path}: tensors: expected the keys of {data.path.name} in their order, found others; "
            "one of the two is altered or of another build, run `ptefoundry build`"
        )
    return Foundation(data, tensors, eos_ids)


def _check_architecture(base: Path, template: Template) -> None:
    path = base / "config.json"
    ours, theirs = architecture_of(load_config(path)), template.map.recipe.architecture
    different = [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
    if different:
        name = different[0]
        raise CheckpointError(
            f"{path}: {name}: expected {theirs.get(name)!r} as in {template.where}, found "
            f"{ours.get(name)!r}; compile a template for this base"
        )


def _check_tensors(tensors: RawTensors, template: Template) -> None:
    expected = {slot.source: slot.shape for slot in template.map.of_kind("base")}
    found = {name: tensor.shape for name, tensor in tensors.tensors.items()}
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"{tensors.path}: {name}: expected shape {expected.get(name)}, found "
                f"{found.get(name)}; convert the base again"
            )


def _check_packed_alike(
    tensors: RawTensors, template: Template, slots: dict[str, Slot], digests: dict[str, str]
) -> None:
    """Refuse linears of the same bytes that XNNPACK packs into different ones.

    Its weight cache finds packed weights by the key of the unpacked ones, with neither
    the shape nor the scales of integers, and so would use the first for both.
    """
    delegated = {entry.slot for entry in template.map.foundation if entry.name is None}
    scales = {slot.source: digests[name] for name, slot in slots.items() if _is_scales(slot)}
    first: dict[str, Slot] = {}
    for name in sorted(delegated):
        slot = slots[name]
        if slot.kind == "fixed" or _is_scales(slot):
            continue
        other = first.setdefault(digests[name], slot)
        if slot.shape != other.shape or scales.get(slot.source) != scales.get(other.source):
            raise CheckpointError(
                f"{tensors.path}: {slot.source}: expected bytes that no linear of another shape or "
                f"other scales has, found those of {other.source}; the runtime keeps packed "
                "weights by their bytes alone and would take one for the other: choose another "
                "`linear` for integers, or another base"
            )


def _is_scales(slot: Slot) -> bool:
    return bool(key_prefix(slot.encoding))


def _describe(entry: Entry, slot: Slot, digest: str) -> FoundationTensor:
    name = entry.name
    if name is None and (prefix := key_prefix(slot.encoding)):
        name = prefix + digest
    return FoundationTensor(entry.slot, name, slot.encoding, digest, slot.size)


def _lay_out(
    template: Template, digests: dict[str, str], segments: list[str], contents: dict[str, Slot]
) -> DataLayout:
    numbers = {digest: number for number, digest in enumerate(segments)}
    encodings = {slot.name: slot.encoding for slot in template.map.slots}
    keys: dict[str, DataKey] = {}
    for entry in template.map.foundation:
        digest = digests[entry.slot]
        key = entry.name or key_prefix(encodings[entry.slot]) + digest
        keys.setdefault(key, DataKey(key, numbers[digest], _layout_of(entry)))
    return lay_out(list(keys.values()), (contents[digest].size for digest in segments))


def _layout_of(entry: Entry) -> TensorLayout | None:
    if entry.scalar_type is None:
        return None
    return TensorLayout(entry.scalar_type, entry.sizes, entry.dim_order)
