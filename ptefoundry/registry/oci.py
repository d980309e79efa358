"""OCI descriptors, manifests and indexes: their bytes, and reading them from a hostile store.

Specification: OCI image-spec 1.1 (manifest.md, image-index.md, descriptor.md).
Bytes are canonical JSON, so that one value has one digest.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ptefoundry.digest import canonical_json, hash_bytes
from ptefoundry.errors import RegistryError
from ptefoundry.registry.names import is_digest

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
DOCUMENT_LIMIT = 8 << 20
"""Bytes that a manifest or an index may have."""
_ANNOTATION_LIMIT = 64 << 10
_DEEPEST = 32
_LARGEST_SIZE = 1 << 50


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """A reference to a blob."""

    media_type: str
    digest: str
    """`sha256:<hex>`"""
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        fields: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        if self.artifact_type is not None:
            fields["artifactType"] = self.artifact_type
        if self.annotations:
            fields["annotations"] = dict(self.annotations)
        return fields


@dataclass(frozen=True, kw_only=True)
class ImageManifest:
    """A manifest: a config and layers."""

    artifact_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: Descriptor | None = None

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        fields: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": self.artifact_type,
            "config": self.config.to_dict(),
            "layers": [layer.to_dict() for layer in self.layers],
        }
        if self.subject is not None:
            fields["subject"] = self.subject.to_dict()
        if self.annotations:
            fields["annotations"] = dict(self.annotations)
        return canonical_json(fields)


@dataclass(frozen=True, kw_only=True)
class ImageIndex:
    """An index: a list of manifests."""

    manifests: tuple[Descriptor, ...]
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        fields: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": INDEX_TYPE,
            "manifests": [manifest.to_dict() for manifest in self.manifests],
        }
        if self.artifact_type is not None:
            fields["artifactType"] = self.artifact_type
        if self.annotations:
            fields["annotations"] = dict(self.annotations)
        return canonical_json(fields)


def describe_bytes(
    data: bytes,
    media_type: str,
    *,
    annotations: Mapping[str, str] | None = None,
    artifact_type: str | None = None,
) -> Descriptor:
    """The descriptor of a blob."""
    return Descriptor(
        media_type=media_type,
        digest=f"sha256:{hash_bytes(data)}",
        size=len(data),
        annotations=annotations or {},
        artifact_type=artifact_type,
    )


def parse_manifest(data: bytes, *, where: str) -> ImageManifest:
    """Read a manifest; unknown fields are ignored, as the specification demands.

    Raises:
        RegistryError: it is none; `where` names it.
    """
    fields = parse_object(data, where=where)
    _check_type(fields, MANIFEST_TYPE, where)
    layers = _list_of(fields, "layers", where)
    subject = fields.get("subject")
    return ImageManifest(
        artifact_type=_text(fields, "artifactType", where),
        config=_parse_descriptor(fields.get("config"), f"{where}: config"),
        layers=tuple(
            _parse_descriptor(item, f"{where}: layers[{at}]") for at, item in enumerate(layers)
        ),
        annotations=_parse_annotations(fields, where),
        subject=_parse_descriptor(subject, f"{where}: subject") if subject is not None else None,
    )


def parse_index(data: bytes, *, where: str) -> ImageIndex:
    """Read an index.

    Raises:
        RegistryError: it is none; `where` names it.
    """
    fields = parse_object(data, where=where)
    _check_type(fields, INDEX_TYPE, where)
    manifests = _list_of(fields, "manifests", where)
    return ImageIndex(
        manifests=tuple(
            _parse_descriptor(item, f"{where}: manifests[{at}]")
            for at, item in enumerate(manifests)
        ),
        artifact_type=_optional_text(fields, "artifactType", where),
        annotations=_parse_annotations(fields, where),
    )


def parse_object(data: bytes, *, where: str) -> dict[str, Any]:
    """Read a JSON object whose keys are all different.

    Raises:
        RegistryError: it is none, too large, or nested too deeply to be read.
    """
    if len(data) > DOCUMENT_LIMIT:
        raise RegistryError(f"{where}: expected at most {DOCUMENT_LIMIT} bytes, found {len(data)}")
    try:
        value = json.loads(
            # Bytes would be taken for UTF-16 if they look so.
            data.decode(),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_parse_finite,
        )
        _check_values(value)
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"{where}: expected JSON ({error})") from error
    if not isinstance(value, dict):
        raise RegistryError(f"{where}: expected a JSON object, found {type(value).__name__}")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return fields


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _parse_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _check_values(value: Any, depth: int = 0) -> None:
    """Refuse what parses but could not be written or walked again."""
    if depth > _DEEPEST:
        raise ValueError(f"nested more than {_DEEPEST} deep")
    if isinstance(value, str):
        value.encode()  # there are no halves of surrogate pairs in UTF-8
    elif isinstance(value, list):
        for item in value:
            _check_values(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_values(key, depth + 1)
            _check_values(item, depth + 1)


def _parse_descriptor(value: Any, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise RegistryError(f"{where}: expected a descriptor, found {type(value).__name__}")
    size = value.get("size")
    if type(size) is not int or not 0 <= size <= _LARGEST_SIZE:
        raise RegistryError(f"{where}: size: expected a number of bytes, found {size!r}")
    digest = _text(value, "digest", where)
    if not is_digest(digest):
        raise RegistryError(
            f"{where}: digest: expected sha256:<64 hex digits>, found {digest!r:.100}"
        )
    return Descriptor(
        media_type=_text(value, "mediaType", where),
        digest=digest,
        size=size,
        annotations=_parse_annotations(value, where),
        artifact_type=_optional_text(value, "artifactType", where),
    )


def _parse_annotations(fields: dict[str, Any], where: str) -> dict[str, str]:
    value = fields.get("annotations", {})
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise RegistryError(f"{where}: annotations: expected texts by name, found {value!r:.80}")
    if sum(len(key) + len(item) for key, item in value.items()) > _ANNOTATION_LIMIT:
        raise RegistryError(
            f"{where}: annotations: expected at most {_ANNOTATION_LIMIT} characters"
        )
    return value


def _check_type(fields: dict[str, Any], expected: str, where: str) -> None:
    found = fields.get("schemaVersion"), fields.get("mediaType")
    if found != (2, expected):
        raise RegistryError(f"{where}: expected schemaVersion 2 and {expected}, found {found}")


def _list_of(fields: dict[str, Any], key: str, where: str) -> list[Any]:
    value = fields.get(key)
    if not isinstance(value, list):
        raise RegistryError(f"{where}: {key}: expected a list, found {type(value).__name__}")
    return value


def _text(fields: dict[str, Any], key: str, where: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        raise RegistryError(f"{where}: {key}: expected a text, found {value!r:.80}")
    return value


def _optional_text(fields: dict[str, Any], key: str, where: str) -> str | None:
    return _text(fields, key, where) if key in fields else None
