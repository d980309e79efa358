"""A program template: a compiled program of a model's shape, without any weights.

A template is a folder of

- `program.bin`: the program as it was compiled, less the data of the adapter's
  placeholders;
- `fixed.bin`: constants of the architecture that the foundation carries;
- `template.json`: the map, `{"sha256": ..., "template": ...}` where the digest is
  that of the second value's canonical JSON. It tells what the template was
  compiled for, which tensor goes where, and what a foundation holds.

Nothing in it depends on the weights, the name or the scale of a base or an
adapter. Offsets count from the start of the whole program.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, ValidationError, convert, to_builtins

from ptefoundry.base.config import ModelConfig
from ptefoundry.digest import hash_bytes, hash_json
from ptefoundry.errors import ArtifactError
from ptefoundry.files import assembled_folder, write_bytes, write_text
from ptefoundry.lowering.encodings import find_encoding
from ptefoundry.lowering.eos import EOS_COUNT

FORMAT_VERSION = 2
BASE_TEMPLATE = "base"
"""Name of the template without an adapter."""

MAP_FILE, PROGRAM_FILE, FIXED_FILE = "template.json", "program.bin", "fixed.bin"

Kind = Literal["base", "adapter", "fixed"]
"""Of a base's checkpoint, of an adapter, or a constant of the architecture."""

_REMEDY = "the template is altered or cut, compile it or fetch it again"


class Slot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tensor of the program, and where it stands."""

    name: str
    kind: Kind
    source: str
    """Canonical tensor that it is made of."""
    encoding: str
    """How it is made: one of `ptefoundry.lowering.encodings`."""
    shape: tuple[int, ...]
    """Of the canonical tensor."""
    size: int
    """Bytes of data."""
    key: str
    """sha256 of the placeholder's bytes, or of the constant's own."""
    places: tuple[int, ...]
    """Byte offsets in the program at which the text of the sha256 stands."""
    data_at: int | None = None
    """Byte offset of the data: in the program for an adapter, in `fixed.bin` for a constant."""


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key of the foundation and the slot whose bytes it stands for."""

    name: str | None
    """The key, None where it is made of the sha256 of the bytes, as the slot's encoding says."""
    slot: str
    scalar_type: int | None = None
    """ExecuTorch's number of the dtype, where the foundation tells dtype and shape."""
    sizes: tuple[int, ...] = ()
    dim_order: tuple[int, ...] = ()


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a template follows from."""

    architecture: dict[str, Any]
    """What `architecture_of` says of the base."""
    options: dict[str, Any]
    """The backend's name and options."""
    signature: dict[str, int]
    """Rank by canonical path of each adapted linear; empty for the base."""
    toolchain: str
    """Digest of what compiles."""

    @property
    def key(self) -> str:
        """What a template is looked up by."""
        return hash_json({"format_version": FORMAT_VERSION, **to_builtins(self)})


class TemplateMap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a template was compiled for, which tensor goes where, what a foundation holds."""

    format_version: int
    recipe: Recipe
    program_size: int
    """Bytes of the program with an adapter's data."""
    program_sha256: str
    """Of `program.bin`."""
    fixed_sha256: str
    """Of `fixed.bin`."""
    slots: tuple[Slot, ...]
    foundation: tuple[Entry, ...]
    """What the foundation holds, in its order."""
    eos_ids_at: tuple[int, ...]
    """Byte offsets in the program of the ids that end an answer, int64, see `lowering.eos`."""

    def of_kind(self, kind: Kind) -> Iterator[Slot]:
        """The slots of one kind, in order."""
        return (slot for slot in self.slots if slot.kind == kind)


def architecture_of(config: ModelConfig) -> dict[str, Any]:
    """What of a base's shape programs depend on: not how long the texts of its training were."""
    fields = config.to_dict()
    del fields["max_context"]
    return fields


def template_name(signature: Mapping[str, int]) -> str:
    """What the template of a signature is called among those of one base and backend."""
    return hash_json(dict(signature))[:16] if signature else BASE_TEMPLATE


def stored_ranges(slots: Iterable[Slot], program_size: int) -> list[tuple[int, int]]:
    """(begin, end) of the parts of the program that `program.bin` is made of, in order."""
    ranges, at = [], 0
    data = ((slot.data_at or 0, slot.size) for slot in slots if slot.kind == "adapter")
    for begin, size in sorted(data):
        ranges.append((at, begin))
        at = begin + size
    return [*ranges, (at, program_size)]


@dataclass(frozen=True)
class Template:
    """A template in memory; about a megabyte, whatever the size of the model."""

    where: str
    """What errors call it."""
    map: TemplateMap
    program: bytes
    """`program.bin`."""
    fixed: bytes
    """`fixed.bin`."""


def save_template(template: Template, into: Path) -> None:
    """Write a template's folder, replacing it at once."""
    content = to_builtins(template.map)
    text = json.dumps({"sha256": hash_json(content), "template": content}, sort_keys=True)
    with assembled_folder(into) as folder:
        write_bytes(folder / PROGRAM_FILE, template.program)
        write_bytes(folder / FIXED_FILE, template.fixed)
        # One line per slot and entry: small, and readable in a diff.
        write_text(folder / MAP_FILE, text.replace("}, {", "},\n{") + "\n")


def load_template(folder: Path) -> Template:
    """Read a template and check it against its digests.

    Raises:
        ArtifactError: a file is missing, altered, cut or of another format.
    """
    content = _load_map(folder / MAP_FILE)
    return Template(
        where=str(folder),
        map=content,
        program=_read_part(folder / PROGRAM_FILE, content.program_sha256),
        fixed=_read_part(folder / FIXED_FILE, content.fixed_sha256),
    )


def _load_map(path: Path) -> TemplateMap:
    try:
        document = json.loads(path.read_bytes())
        content, digest = document["template"], document["sha256"]
        version = content["format_version"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{path}: expected a template's map ({error!r}); {_REMEDY}") from error
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: format_version: expected {FORMAT_VERSION}, found {version!r}; "
            "compile the template with this version of ptefoundry"
        )
    if hash_json(content) != digest:
        raise ArtifactError(
            f"{path}: sha256: expected {digest}, found {hash_json(content)}; {_REMEDY}"
        )
    try:
        parsed = convert(content, TemplateMap)
    except ValidationError as error:
        raise ArtifactError(f"{path}: {error}; {_REMEDY}") from error
    _check_map(path, parsed)
    return parsed


def _read_part(path: Path, digest: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{path}: expected a part of a template, found none ({error.strerror}); {_REMEDY}"
        ) from error
    if hash_bytes(data) != digest:
        raise ArtifactError(
            f"{path}: sha256: expected {digest}, found {hash_bytes(data)}; {_REMEDY}"
        )
    return data


def _check_map(path: Path, template: TemplateMap) -> None:
    """Check what types do not say: that names are unique and ranges are inside and apart."""

    def broken(field: str, expected: str) -> ArtifactError:
        return ArtifactError(f"{path}: {field}: expected {expected}; {_REMEDY}")

    names = {slot.name for slot in template.slots}
    if len(names) != len(template.slots):
        raise broken("slots", "each name once")
    if unknown := sorted({entry.slot for entry in template.foundation} - names):
        raise broken("foundation", f"names of slots, found {unknown[0]!r}")
    for slot in template.slots:
        if find_encoding(slot.encoding) is None:
            raise broken(f"{slot.name}.encoding", f"a known one, found {slot.encoding!r}")
        if (slot.data_at is None) != (slot.kind == "base"):
            raise broken(f"{slot.name}.data_at", "an offset, or none for a base's tensor")
    ranges = stored_ranges(template.slots, template.program_size)
    if any(begin > end for begin, end in ranges):
        raise broken("slots", "data of adapters apart and inside the program")
    stored = [
        at for at in template.eos_ids_at if any(begin <= at <= end - 8 for begin, end in ranges)
    ]
    if len(set(stored)) != EOS_COUNT or len(template.eos_ids_at) != EOS_COUNT:
        raise broken("eos_ids_at", f"{EOS_COUNT} places beside the data of adapters")
