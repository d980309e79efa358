"""`manifest.json` of variants: read as what a stranger may have written, and united.

Each variant has the bundle's manifest as if it were the only one. Pulled into one
folder several have one manifest; all of a version have the one that it was built with.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, TypeVar

from ptefoundry.bundle.manifest import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    FileEntry,
    Manifest,
    Variant,
)
from ptefoundry.digest import canonical_json
from ptefoundry.errors import RegistryError
from ptefoundry.registry.names import hex_of
from ptefoundry.registry.oci import parse_object
from ptefoundry.registry.paths import check_paths
from ptefoundry.registry.version import VariantContent, check_file_names
from ptefoundry.workspace import BASE_VARIANT

_T = TypeVar("_T")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_listing(data: bytes, *, name: str, content: VariantContent, where: str) -> Manifest:
    """Read the `manifest.json` of a variant.

    Args:
        data: the file.
        name: of the bundle that it must be of.
        content: the variant's manifest; what both say must be the same.
        where: names the file in errors.

    Raises:
        RegistryError: it is malformed, or says something else than the variant's manifest.
    """
    listing = _parse(data, where)
    _same(listing.name, name, f"{where}: name")
    _same(listing.base.get("name"), content.facts.base, f"{where}: base.name")
    _same([*listing.backends], [content.facts.backend], f"{where}: backends")
    _same({*listing.adapters} - {content.facts.adapter}, set(), f"{where}: other adapters")
    _same(listing.files, _files_of(content), f"{where}: files")
    _same(len(listing.variants), 1, f"{where}: variants: count")
    _same(listing.variants[0], _variant_of(content), f"{where}: variants[0]")
    return listing


def merge_listings(listings: Sequence[bytes], *, where: str) -> bytes:
    """One manifest for all variants, canonical JSON.

    Args:
        listings: the manifest of each variant alone.
        where: names the version in errors.

    Raises:
        RegistryError: one is malformed, or they contradict each other.
    """
    manifests = [_parse(data, f"{where}: {MANIFEST_FILE}") for data in listings]
    first = manifests[0]
    for other in manifests[1:]:
        _same(other.name, first.name, f"{where}: name")
        _same(other.base, first.base, f"{where}: base")
    files = _unite([{entry.path: entry for entry in one.files} for one in manifests], where)
    variants = _unite(
        [{(one.backend, one.adapter): one for one in listing.variants} for listing in manifests],
        where,
    )
    check_paths(files, where=f"{where}: files")
    merged = Manifest(
        name=first.name,
        base=first.base,
        adapters=_unite([one.adapters for one in manifests], where),
        backends=_unite([one.backends for one in manifests], where),
        files=tuple(files[path] for path in sorted(files)),
        variants=tuple(variants[key] for key in sorted(variants, key=_as_built)),
    )
    return canonical_json(asdict(merged))


def _as_built(key: tuple[str, str]) -> tuple[str, bool, str]:
    backend, adapter = key
    return backend, adapter != BASE_VARIANT, adapter


def _unite(parts: Sequence[Mapping[Any, _T]], where: str) -> dict[Any, _T]:
    united: dict[Any, _T] = {}
    for part in parts:
        for key, value in part.items():
            _same(value, united.setdefault(key, value), f"{where}: {key}")
    return united


def _files_of(content: VariantContent) -> tuple[FileEntry, ...]:
    """The files that the layers are, but for the listing itself."""
    entries = (
        FileEntry(
            path=layer.path, size=layer.descriptor.size, sha256=hex_of(layer.descriptor.digest)
        )
        for layer in content.layers[:-1]
    )
    return tuple(sorted(entries, key=lambda entry: entry.path))


def _variant_of(content: VariantContent) -> Variant:
    """The variant of the facts; what it is loaded with comes before its program."""
    facts, paths = content.facts, [layer.path for layer in content.layers]
    return Variant(
        backend=facts.backend,
        adapter=facts.adapter,
        program=facts.program,
        data=tuple(paths[: paths.index(facts.program)]),
        method=facts.method,
    )


def _parse(data: bytes, where: str) -> Manifest:
    """A manifest whose fields are of the right types and whose paths are harmless."""
    values = parse_object(data, where=where)
    names = {field.name for field in fields(Manifest)}
    _same(values.get("format_version"), FORMAT_VERSION, f"{where}: format_version")
    _same(values.keys(), names, f"{where}: fields")
    manifest = Manifest(
        name=_text(values["name"], f"{where}: name"),
        base=_texts(values["base"], f"{where}: base"),
        adapters={
            key: _texts(value, f"{where}: adapters: {key!r:.80}")
            for key, value in _object(values["adapters"], f"{where}: adapters").items()
        },
        backends={
            key: _object(value, f"{where}: backends: {key!r:.80}")
            for key, value in _object(values["backends"], f"{where}: backends").items()
        },
        files=tuple(_file(value, where) for value in _list(values["files"], f"{where}: files")),
        variants=tuple(
            _variant(value, where) for value in _list(values["variants"], f"{where}: variants")
        ),
    )
    paths = [entry.path for entry in manifest.files]
    check_paths(paths, where=f"{where}: files")
    check_file_names(paths, where=f"{where}: files")
    for variant in manifest.variants:
        _same({variant.program, *variant.data} - {*paths}, set(), f"{where}: files not listed")
    if canonical_json(asdict(manifest)) != data:
        raise RegistryError(f"{where}: expected canonical JSON, found it written in another way")
    return manifest


def _file(value: Any, where: str) -> FileEntry:
    where = f"{where}: files"
    entry = _object(value, where)
    _same(entry.keys(), {"path", "size", "sha256"}, where)
    sha256, size = _text(entry["sha256"], where), entry["size"]
    if type(size) is not int or size < 0 or not _SHA256.fullmatch(sha256):
        raise RegistryError(f"{where}: expected a size and 64 hex digits, found {value!r:.200}")
    return FileEntry(path=_text(entry["path"], where), size=size, sha256=sha256)


def _variant(value: Any, where: str) -> Variant:
    where = f"{where}: variants"
    entry = _object(value, where)
    _same(entry.keys(), {field.name for field in fields(Variant)}, where)
    data = tuple(_text(path, where) for path in _list(entry.pop("data"), where))
    return Variant(data=data, **_texts(entry, where))


def _same(value: Any, expected: Any, where: str) -> None:
    if value != expected:
        raise RegistryError(f"{where}: expected {expected!r:.400}, found {value!r:.400}")


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RegistryError(f"{where}: expected an object, found {value!r:.80}")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise RegistryError(f"{where}: expected a list, found {value!r:.80}")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise RegistryError(f"{where}: expected a text, found {value!r:.80}")
    return value


def _texts(value: Any, where: str) -> dict[str, str]:
    return {key: _text(text, f"{where}: {key}") for key, text in _object(value, where).items()}
