"""A variant as a manifest of CNCF ModelPack: its media types, layers and configuration.

Specification: ModelPack model-spec 0.0.7 (spec.md, config.md, annotations.md). Layers are
the bundle's files as they are, each under its path, so that any OCI tool can pull them.
The configuration has only what ModelPack knows; our facts are annotations.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ptefoundry.bundle.manifest import STORED_WEIGHTS, FileEntry, Manifest, Variant
from ptefoundry.digest import canonical_json
from ptefoundry.registry.chunks import has_chunk_list
from ptefoundry.registry.facts import PREFIX
from ptefoundry.registry.oci import Descriptor

BUNDLE_TYPE = "application/vnd.ptefoundry.bundle.v1+json"
"""artifactType of a version's index."""
MODEL_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
WEIGHT_TYPE = "application/vnd.cncf.model.weight.v1.raw"
WEIGHT_CONFIG_TYPE = "application/vnd.cncf.model.weight.config.v1.raw"
LAYER_TYPES = frozenset({WEIGHT_TYPE, WEIGHT_CONFIG_TYPE})
FILEPATH = "org.cncf.model.filepath"
TITLE, VERSION = "org.opencontainers.image.title", "org.opencontainers.image.version"
CHUNKS_DIGEST, CHUNKS_SIZE = f"{PREFIX}chunks.digest", f"{PREFIX}chunks.size"
_T = TypeVar("_T")
_FIRST_FOLDER = "tokenizer/"
_PRECISIONS = {"fp32": "float32", "fp16": "float16"}
_PLAIN = frozenset({"none", "fp32"})
"""Forms of weights that are not quantized."""


@dataclass(frozen=True, kw_only=True)
class ChunkRef:
    """Where the chunk list of a layer is."""

    digest: str
    """`sha256:<hex>`"""
    size: int


def files_of(manifest: Manifest, variant: Variant) -> tuple[FileEntry, ...]:
    """A variant's files in the order of its layers.

    First what it is loaded with, then its program, then what all variants share: the
    tokenizer's files, then the others, by path.
    """
    listed = {entry.path: entry for entry in manifest.files}
    own = {name for one in manifest.variants for name in (one.program, *one.data)}
    shared = sorted(
        listed.keys() - own, key=lambda path: (not path.startswith(_FIRST_FOLDER), path)
    )
    order = dict.fromkeys((*variant.data, variant.program, *shared))
    return tuple(listed[path] for path in order)


def layer_type(manifest: Manifest, path: str) -> str:
    """Media type of a bundle's file."""
    weights = {name for one in manifest.variants for name in (one.program, *one.data)}
    return WEIGHT_TYPE if path in weights else WEIGHT_CONFIG_TYPE


def describe_layer(entry: FileEntry, media_type: str, chunks: ChunkRef | None) -> Descriptor:
    """A file's descriptor; a chunk list belongs to files that are large, and only to them."""
    assert (chunks is not None) == has_chunk_list(entry.size)
    annotations = {FILEPATH: entry.path, TITLE: entry.path}
    if chunks is not None:
        annotations |= {CHUNKS_DIGEST: chunks.digest, CHUNKS_SIZE: str(chunks.size)}
    return Descriptor(
        media_type=media_type,
        digest=f"sha256:{entry.sha256}",
        size=entry.size,
        annotations=annotations,
    )


def reduce_manifest(manifest: Manifest, variant: Variant, files: Iterable[FileEntry]) -> Manifest:
    """The bundle's manifest as if it had this variant alone."""
    return Manifest(
        name=manifest.name,
        base=manifest.base,
        adapters=_only(manifest.adapters, variant.adapter),
        backends=_only(manifest.backends, variant.backend),
        files=tuple(sorted(files, key=lambda entry: entry.path)),
        variants=(variant,),
    )


def config_bytes(manifest: Manifest, variant: Variant, layers: Sequence[Descriptor]) -> bytes:
    """The configuration's canonical JSON; the schema allows no fields but its own."""
    backend = manifest.backends.get(variant.backend, {})
    config: dict[str, object] = {
        "architecture": "transformer",
        "capabilities": {"inputTypes": ["text"], "outputTypes": ["text"]},
        "format": "executorch",
        "precision": _precision(backend),
    }
    if quantization := _quantization(backend):
        config["quantization"] = quantization
    return canonical_json(
        {
            "descriptor": {
                "name": manifest.name,
                "title": f"{manifest.name} {variant.backend}/{variant.adapter}",
            },
            "config": config,
            # Layers are not packed in any way, so what is stored is what is unpacked.
            "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
        }
    )


def _precision(backend: Mapping[str, object]) -> str:
    """In what it computes. XNNPACK's programs do in fp32, also from weights stored as fp16."""
    dtype = str(backend.get("dtype", "fp32"))
    return _PRECISIONS.get(dtype, dtype)


def _quantization(backend: Mapping[str, object]) -> str:
    """How weights are stored, where it is neither fp32 nor `dtype`: `linears: 8da4w,32; ..`."""
    forms = _stored_forms(backend) if STORED_WEIGHTS in backend else _chosen_forms(backend)
    return "; ".join(f"{what}: {form}" for what, form in sorted(forms) if form not in _PLAIN)


def _stored_forms(backend: Mapping[str, object]) -> set[tuple[str, str]]:
    stored = backend[STORED_WEIGHTS]
    assert isinstance(stored, list)
    return {(weights["what"], weights["form"]) for weights in stored}


def _chosen_forms(backend: Mapping[str, object]) -> set[tuple[str, str]]:
    """By the options, where no foundation tells: CoreML's are all that says it."""
    linear = str(backend.get("linear", "none"))
    head = str(backend.get("head", "same"))
    embedding = str(backend.get("embedding", "none"))
    return {
        ("linears", linear),
        ("output head", linear if head == "same" else head),
        ("embedding table", embedding),
    }


def _only(values: Mapping[str, _T], key: str) -> dict[str, _T]:
    return {key: values[key]} if key in values else {}
