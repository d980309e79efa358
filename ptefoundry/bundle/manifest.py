"""The bundle's manifest: which files make which variant, each by digest.

    manifest.json
    model.json                 shape of the base
    tokenizer/                 tokenizer.json, chat.json
    xnnpack/foundation.ptd     the base's weights, shared by all programs
    xnnpack/base.pte           the base alone
    xnnpack/<adapter>.pte      the base with an adapter
    measured.json              measurements of the machine that built it
    signatures/                of a pulled bundle

`measured.json` differs from build to build. It and `signatures/` are no part of the identity.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ptefoundry.digest import hash_json
from ptefoundry.errors import ArtifactError

MANIFEST_FILE = "manifest.json"
MEASURED_FILE = "measured.json"
SIGNATURES = "signatures"
"""Folder of a pulled bundle that is no part of its version."""
FORMAT_VERSION = 1
STORED_WEIGHTS = "stored_weights"
"""Key of a backend: what its data files store, as `ptefoundry.bundle.weights` lists it."""
EXPORTER = "exporter"
"""Key of a backend: package -> version of what wrote its programs."""


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file of the bundle; `path` is relative and has forward slashes."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What an app loads for one backend and one adapter."""

    backend: str
    adapter: str
    """Name of the adapter, or `base`."""
    program: str
    data: tuple[str, ...]
    """Data files that the program is loaded with."""
    method: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle is made of."""

    name: str
    base: dict[str, str]
    """Name, source and digest of the base."""
    adapters: dict[str, dict[str, str]]
    """Adapter name -> source and digest."""
    backends: dict[str, dict[str, Any]]
    """Backend -> the options that it was built with, and what it stores."""
    files: tuple[FileEntry, ...]
    variants: tuple[Variant, ...]
    format_version: int = FORMAT_VERSION

    @property
    def digest(self) -> str:
        """Identity of the bundle."""
        return hash_json(asdict(self))

    def variant(self, backend: str, adapter: str) -> Variant:
        """The variant of a backend and an adapter.

        Raises:
            ArtifactError: there is none; the message lists what there is.
        """
        for variant in self.variants:
            if (variant.backend, variant.adapter) == (backend, adapter):
                return variant
        known = ", ".join(f"{item.backend}/{item.adapter}" for item in self.variants)
        raise ArtifactError(
            f"bundle {self.name}: expected a variant {backend}/{adapter}, found only: {known}"
        )


def load_manifest(bundle: Path) -> Manifest:
    """Read a bundle's manifest; the files are not looked at.

    Raises:
        ArtifactError: it is missing, malformed, of a newer format, or a path in
            it leaves the bundle.
    """
    path = bundle / MANIFEST_FILE
    try:
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{path}: expected a bundle's manifest ({error!r}); build or pull the bundle again"
        ) from error
    return parse_manifest(fields, where=str(path))


def parse_manifest(fields: Any, *, where: str) -> Manifest:
    """A manifest from its JSON value.

    Raises:
        ArtifactError: it is none, of a newer format, or a path in it leaves the bundle.
    """
    try:
        version = fields["format_version"]
        if version != FORMAT_VERSION:
            raise ArtifactError(
                f"{where}: format_version: expected {FORMAT_VERSION}, found {version}; "
                "use a newer ptefoundry"
            )
        files = tuple(FileEntry(**entry) for entry in fields["files"])
        variants = tuple(
            Variant(**{**entry, "data": tuple(entry["data"])}) for entry in fields["variants"]
        )
        manifest = Manifest(**{**fields, "files": files, "variants": variants})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{where}: expected a bundle's manifest ({error!r}); build or pull the bundle again"
        ) from error
    _check_paths(where, manifest)
    return manifest


def _check_paths(where: str, manifest: Manifest) -> None:
    listed = {entry.path for entry in manifest.files}
    for entry in manifest.files:
        parts = PurePosixPath(entry.path).parts
        if not parts or parts[0] == "/" or ".." in parts or "\\" in entry.path:
            raise ArtifactError(f"{where}: files: expected a relative path, found {entry.path!r}")
    for variant in manifest.variants:
        for name in (variant.program, *variant.data):
            if name not in listed:
                raise ArtifactError(f"{where}: variants: expected a listed file, found {name!r}")
