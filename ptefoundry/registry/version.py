"""Reading a version's index and its variants' manifests, as a stranger may have written them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ptefoundry.bundle.manifest import MANIFEST_FILE, MEASURED_FILE, SIGNATURES
from ptefoundry.errors import RegistryError
from ptefoundry.registry.chunks import CHUNK_SIZE
from ptefoundry.registry.facts import Facts, read_facts
from ptefoundry.registry.modelpack import (
    BUNDLE_TYPE,
    CHUNKS_DIGEST,
    CHUNKS_SIZE,
    CONFIG_TYPE,
    FILEPATH,
    LAYER_TYPES,
    MODEL_TYPE,
    TITLE,
    VERSION,
    ChunkRef,
)
from ptefoundry.registry.names import is_digest
from ptefoundry.registry.oci import (
    DOCUMENT_LIMIT,
    MANIFEST_TYPE,
    Descriptor,
    parse_index,
    parse_manifest,
)
from ptefoundry.registry.paths import check_paths

_NUMBER = re.compile(r"[1-9][0-9]{0,9}")


@dataclass(frozen=True, kw_only=True)
class VariantEntry:
    """A variant as the version's index lists it."""

    descriptor: Descriptor
    """Of its manifest."""
    facts: Facts


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version's index."""

    name: str
    version: str
    variants: tuple[VariantEntry, ...]
    """By backend and adapter."""

    def variant(self, backend: str, adapter: str) -> VariantEntry:
        """The variant of a backend and an adapter.

        Raises:
            RegistryError: there is none; the message lists what there is.
        """
        for entry in self.variants:
            if (entry.facts.backend, entry.facts.adapter) == (backend, adapter):
                return entry
        known = ", ".join(f"{one.facts.backend}/{one.facts.adapter}" for one in self.variants)
        raise RegistryError(
            f"{self.name}@{self.version}: expected a variant {backend}/{adapter}, found only: "
            f"{known}"
        )


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A file of a variant."""

    path: str
    descriptor: Descriptor
    chunks: ChunkRef | None
    """Its chunk list; some files of more than `chunks.CHUNK_SIZE` bytes have one."""


@dataclass(frozen=True, kw_only=True)
class VariantContent:
    """A variant's manifest."""

    facts: Facts
    config: Descriptor
    layers: tuple[Layer, ...]
    """In the order in which they are of use; the last is the bundle's `manifest.json`."""

    @property
    def listing(self) -> Layer:
        """The bundle's `manifest.json`, reduced to this variant."""
        return self.layers[-1]

    @property
    def referred(self) -> tuple[str, ...]:
        """Digests of all blobs that the manifest refers to."""
        lists = (layer.chunks.digest for layer in self.layers if layer.chunks is not None)
        layers = (layer.descriptor.digest for layer in self.layers)
        return tuple(dict.fromkeys((self.config.digest, *layers, *lists)))


def read_version(data: bytes, *, name: str, version: str, where: str) -> Version:
    """Read a version's index.

    Args:
        data: the index.
        name: of the bundle that it must be of.
        version: that it must be.
        where: names the index in errors.

    Raises:
        RegistryError: it is malformed, another version, or a variant is listed twice.
    """
    index = parse_index(data, where=where)
    if index.artifact_type != BUNDLE_TYPE:
        raise RegistryError(
            f"{where}: artifactType: expected {BUNDLE_TYPE}, found {index.artifact_type!r:.80}"
        )
    for key, expected in ((TITLE, name), (VERSION, version)):
        if (found := index.annotations.get(key)) != expected:
            raise RegistryError(f"{where}: {key}: expected {expected!r}, found {found!r:.80}")
    entries = tuple(
        _read_entry(descriptor, f"{where}: manifests[{at}]")
        for at, descriptor in enumerate(index.manifests)
    )
    order = [(entry.facts.backend, entry.facts.adapter) for entry in entries]
    if not order or order != sorted(set(order)):
        raise RegistryError(
            f"{where}: manifests: expected variants by backend and adapter, at least one and none "
            f"twice, found {order[:20]}"
        )
    return Version(name=name, version=version, variants=entries)


def read_variant(data: bytes, *, expected: Facts, where: str) -> VariantContent:
    """Read a variant's manifest.

    Args:
        data: the manifest.
        expected: its facts as the version's index has them.
        where: names the manifest in errors.

    Raises:
        RegistryError: it is malformed, differs from the index, or a file of it could not
            be stored under its path.
    """
    manifest = parse_manifest(data, where=where)
    if manifest.artifact_type != MODEL_TYPE:
        raise RegistryError(
            f"{where}: artifactType: expected {MODEL_TYPE}, found {manifest.artifact_type!r:.80}"
        )
    if manifest.config.media_type != CONFIG_TYPE or manifest.config.size > DOCUMENT_LIMIT:
        raise RegistryError(
            f"{where}: config: expected {CONFIG_TYPE} of at most {DOCUMENT_LIMIT} bytes, found "
            f"{manifest.config.media_type!r:.80} of {manifest.config.size}"
        )
    layers = tuple(
        _read_layer(layer, f"{where}: layers[{at}]") for at, layer in enumerate(manifest.layers)
    )
    facts = read_facts(manifest.annotations, where=where)
    if facts != expected:
        raise RegistryError(
            f"{where}: annotations: expected those of the version's index, found others: "
            f"{facts} instead of {expected}"
        )
    content = VariantContent(facts=facts, config=manifest.config, layers=layers)
    _check_layers(content, where)
    return content


def check_file_names(paths: Iterable[str], *, where: str) -> None:
    """Refuse files that would take the place of what is no part of a version.

    Raises:
        RegistryError: one is called like the manifest, the measurements or a signature.
    """
    for path in paths:
        if path.lower().partition("/")[0] in {MANIFEST_FILE, MEASURED_FILE, SIGNATURES}:
            raise RegistryError(f"{where}: {path!r} is not for files of a bundle")


def _read_entry(descriptor: Descriptor, where: str) -> VariantEntry:
    found = descriptor.media_type, descriptor.artifact_type
    if found != (MANIFEST_TYPE, MODEL_TYPE):
        raise RegistryError(f"{where}: expected {MANIFEST_TYPE} of {MODEL_TYPE}, found {found}")
    if descriptor.size > DOCUMENT_LIMIT:
        raise RegistryError(
            f"{where}: size: expected at most {DOCUMENT_LIMIT}, found {descriptor.size}"
        )
    return VariantEntry(
        descriptor=descriptor, facts=read_facts(descriptor.annotations, where=where)
    )


def _read_layer(layer: Descriptor, where: str) -> Layer:
    if layer.media_type not in LAYER_TYPES:
        raise RegistryError(
            f"{where}: mediaType: expected one of {sorted(LAYER_TYPES)}, found "
            f"{layer.media_type!r:.80}"
        )
    path = layer.annotations.get(FILEPATH)
    if path is None or layer.annotations.get(TITLE) != path:
        raise RegistryError(
            f"{where}: {FILEPATH}: expected a path, and the same in {TITLE}, found {path!r:.80}"
        )
    return Layer(path=path, descriptor=layer, chunks=_read_chunk_ref(layer, where))


def _read_chunk_ref(layer: Descriptor, where: str) -> ChunkRef | None:
    digest, size = (layer.annotations.get(key) for key in (CHUNKS_DIGEST, CHUNKS_SIZE))
    if digest is None and size is None:
        return None
    is_well_formed = is_digest(digest or "") and _NUMBER.fullmatch(size or "")
    if digest is None or size is None or not is_well_formed or layer.size <= CHUNK_SIZE:
        raise RegistryError(
            f"{where}: {CHUNKS_DIGEST}: expected a chunk list and its size, for files of more than "
            f"{CHUNK_SIZE} bytes only, found {digest!r:.80} of {size!r:.80}"
        )
    if int(size) > DOCUMENT_LIMIT:
        raise RegistryError(
            f"{where}: {CHUNKS_SIZE}: expected at most {DOCUMENT_LIMIT}, found {size}"
        )
    return ChunkRef(digest=digest, size=int(size))


def _check_layers(content: VariantContent, where: str) -> None:
    paths = [layer.path for layer in content.layers]
    where = f"{where}: layers"
    check_paths(paths, where=where)
    if not paths or paths[-1] != MANIFEST_FILE:
        raise RegistryError(f"{where}: expected {MANIFEST_FILE} last, found {paths[-1:]}")
    check_file_names(paths[:-1], where=where)
    facts, first = content.facts, content.layers[0].descriptor
    if facts.foundation is not None and (facts.foundation, facts.foundation_size) != (
        first.digest,
        first.size,
    ):
        raise RegistryError(
            f"{where}: expected the foundation {facts.foundation} first, found {first.digest} of "
            f"{first.size} bytes"
        )
    if facts.program not in paths[:-1]:
        raise RegistryError(f"{where}: expected the program {facts.program!r} among {paths}")
    if content.listing.descriptor.size > DOCUMENT_LIMIT:
        raise RegistryError(
            f"{where}: {MANIFEST_FILE}: expected at most {DOCUMENT_LIMIT} bytes, found "
            f"{content.listing.descriptor.size}"
        )
    if facts.size != (found := sum(layer.descriptor.size for layer in content.layers)):
        raise RegistryError(f"{where}: expected {facts.size} bytes in all, found {found}")
