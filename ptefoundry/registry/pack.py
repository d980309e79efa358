"""From a bundle's folder to a version's content, byte for byte the same everywhere.

>>> packed = pack_bundle(Path("artifacts/bundle"), version="1.4.0")
>>> packed.index.digest, [variant.facts.adapter for variant in packed.variants]
('sha256:…', ['base', 'executorch', 'nobel'])

What was measured, when and by whom is no part of it: two builders of the same bundle
get the same digests.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ptefoundry.bundle.manifest import (
    EXPORTER,
    MANIFEST_FILE,
    FileEntry,
    Manifest,
    Variant,
    load_manifest,
)
from ptefoundry.digest import canonical_json, hash_bytes
from ptefoundry.errors import ArtifactError
from ptefoundry.lowering.pte import Program, read_pte
from ptefoundry.registry.chunks import hash_chunks
from ptefoundry.registry.content import Blob, blob_of
from ptefoundry.registry.facts import Facts, read_facts, runtime_range
from ptefoundry.registry.modelpack import (
    BUNDLE_TYPE,
    CONFIG_TYPE,
    MODEL_TYPE,
    TITLE,
    VERSION,
    ChunkRef,
    config_bytes,
    describe_layer,
    files_of,
    layer_type,
    reduce_manifest,
)
from ptefoundry.registry.names import check_name, check_version
from ptefoundry.registry.oci import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    ImageIndex,
    ImageManifest,
    describe_bytes,
)
from ptefoundry.registry.paths import check_paths
from ptefoundry.registry.version import check_file_names

_CONTEXT = "get_max_context_len"


@dataclass(frozen=True, kw_only=True)
class PackedVariant:
    """One variant's content."""

    facts: Facts
    manifest: Descriptor
    """As it stands in the version's index."""
    blobs: tuple[Blob, ...]
    """Its files, chunk lists, configuration and manifest; whoever refers to a blob comes
    after it."""


@dataclass(frozen=True, kw_only=True)
class PackedVersion:
    """A version's content."""

    name: str
    version: str
    bundle: Manifest
    index: Descriptor
    index_bytes: bytes
    variants: tuple[PackedVariant, ...]
    """By backend and adapter."""

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Everything, each once; whoever refers to a blob comes after it."""
        found = (blob for variant in self.variants for blob in variant.blobs)
        unique = {blob.digest: blob for blob in (*found, blob_of(self.index_bytes))}
        return tuple(unique.values())


def pack_bundle(folder: Path, *, version: str) -> PackedVersion:
    """Read every file of a bundle once and describe them as a version.

    Args:
        folder: the bundle.
        version: to be, SemVer; the name is the bundle's.

    Raises:
        ConfigError: name or version are none.
        ArtifactError: a file is missing, altered or no program, or the manifest is malformed.
        RegistryError: a path in the bundle means something else on another system.
    """
    bundle = load_manifest(folder)
    name = check_name(bundle.name)
    check_version(version)
    _check_bundle(folder, bundle)
    lists = {entry.path: _chunk_list(folder, entry) for entry in bundle.files}
    order = sorted(bundle.variants, key=lambda variant: (variant.backend, variant.adapter))
    variants = tuple(_pack_variant(folder, bundle, variant, lists) for variant in order)
    index_bytes = ImageIndex(
        artifact_type=BUNDLE_TYPE,
        manifests=tuple(variant.manifest for variant in variants),
        annotations={TITLE: name, VERSION: version},
    ).to_bytes()
    return PackedVersion(
        name=name,
        version=version,
        bundle=bundle,
        index=describe_bytes(index_bytes, INDEX_TYPE, artifact_type=BUNDLE_TYPE),
        index_bytes=index_bytes,
        variants=variants,
    )


def _check_bundle(folder: Path, bundle: Manifest) -> None:
    where = f"{folder / MANIFEST_FILE}: files"
    paths = [entry.path for entry in bundle.files]
    check_paths(paths, where=where)
    check_file_names(paths, where=where)
    names = [(variant.backend, variant.adapter) for variant in bundle.variants]
    if not names or len(set(names)) != len(names):
        raise ArtifactError(
            f"{folder / MANIFEST_FILE}: variants: expected at least one and none twice, found "
            f"{names}; build the bundle again"
        )


def _chunk_list(folder: Path, entry: FileEntry) -> bytes | None:
    chunks = hash_chunks(folder / entry.path, size=entry.size, sha256=entry.sha256)
    return chunks.to_bytes() if chunks is not None else None


def _pack_variant(
    folder: Path, bundle: Manifest, variant: Variant, lists: Mapping[str, bytes | None]
) -> PackedVariant:
    files = files_of(bundle, variant)
    reduced = canonical_json(asdict(reduce_manifest(bundle, variant, files)))
    listing = FileEntry(path=MANIFEST_FILE, size=len(reduced), sha256=hash_bytes(reduced))
    layers = tuple(
        describe_layer(entry, layer_type(bundle, entry.path), _ref(lists.get(entry.path)))
        for entry in (*files, listing)
    )
    facts = _facts(folder, bundle, variant, size=sum(layer.size for layer in layers))
    config = config_bytes(bundle, variant, layers)
    manifest = ImageManifest(
        artifact_type=MODEL_TYPE,
        config=describe_bytes(config, CONFIG_TYPE),
        layers=layers,
        annotations=facts.to_annotations(),
    ).to_bytes()
    return PackedVariant(
        facts=facts,
        manifest=describe_bytes(
            manifest, MANIFEST_TYPE, annotations=facts.to_annotations(), artifact_type=MODEL_TYPE
        ),
        blobs=(
            *_file_blobs(folder, files, lists),
            blob_of(reduced),
            blob_of(config),
            blob_of(manifest),
        ),
    )


def _file_blobs(
    folder: Path, files: tuple[FileEntry, ...], lists: Mapping[str, bytes | None]
) -> Iterator[Blob]:
    for entry in files:
        yield Blob(digest=f"sha256:{entry.sha256}", size=entry.size, content=folder / entry.path)
        if (data := lists[entry.path]) is not None:
            yield blob_of(data)


def _facts(folder: Path, bundle: Manifest, variant: Variant, *, size: int) -> Facts:
    program = read_pte(folder / variant.program)
    sizes = {entry.path: entry.size for entry in bundle.files}
    digests = {entry.path: f"sha256:{entry.sha256}" for entry in bundle.files}
    foundation = next(iter(variant.data), None)
    executorch = bundle.backends.get(variant.backend, {}).get(EXPORTER, {}).get("executorch")
    weights = sum(sizes[path] for path in variant.data)
    facts = Facts(
        backend=variant.backend,
        adapter=variant.adapter,
        method=variant.method,
        program=variant.program,
        size=size,
        memory=weights + sizes[variant.program] + _planned_bytes(program, variant),
        base=bundle.base.get("name", ""),
        base_digest=_source_digest(bundle.base),
        adapter_digest=_source_digest(bundle.adapters.get(variant.adapter, {})),
        foundation=digests[foundation] if foundation is not None else None,
        foundation_size=sizes[foundation] if foundation is not None else None,
        context=_context(program),
        executorch=executorch,
        runtime=runtime_range(executorch) if executorch is not None else None,
    )
    # What a client would refuse is better refused here.
    where = f"{folder / MANIFEST_FILE}: {variant.backend}/{variant.adapter}"
    return read_facts(facts.to_annotations(), where=where)


def _planned_bytes(program: Program, variant: Variant) -> int:
    """Memory for activations and caches of the variant's method."""
    for method in program.methods:
        if method.name == variant.method:
            return method.planned_bytes
    raise ArtifactError(
        f"{program.path}: expected a method {variant.method!r}, found only: "
        f"{', '.join(program.entry_points)}; build the bundle again"
    )


def _context(program: Program) -> int | None:
    values = program.constants.get(_CONTEXT, ())
    return int(values[0]) if values else None


def _source_digest(origin: Mapping[str, str]) -> str | None:
    digest = origin.get("digest")
    return digest.removeprefix("sha256:") if digest is not None else None


def _ref(chunk_list: bytes | None) -> ChunkRef | None:
    if chunk_list is None:
        return None
    return ChunkRef(digest=f"sha256:{hash_bytes(chunk_list)}", size=len(chunk_list))
