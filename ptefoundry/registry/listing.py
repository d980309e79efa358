"""`manifest.json` of a folder with several variants, made of those of each of them."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from ptefoundry.bundle.manifest import FileEntry, Manifest, parse_manifest
from ptefoundry.digest import canonical_json
from ptefoundry.errors import ArtifactError, RegistryError


def merge_listings(listings: Sequence[bytes], *, where: str) -> bytes:
    """One manifest for all variants, canonical JSON.

    Args:
        listings: the manifest of each variant alone.
        where: names the version in errors.

    Raises:
        RegistryError: one is malformed, or they contradict each other.
    """
    manifests = [_parse(data, where) for data in listings]
    first = manifests[0]
    adapters, backends = dict(first.adapters), dict(first.backends)
    files: dict[str, FileEntry] = {}
    for manifest in manifests:
        if (manifest.name, manifest.base) != (first.name, first.base):
            raise RegistryError(
                f"{where}: expected variants of {first.name} over one base, found {manifest.name} "
                f"over {manifest.base}"
            )
        for mine, theirs in ((adapters, manifest.adapters), (backends, manifest.backends)):
            for key, value in theirs.items():
                if mine.setdefault(key, value) != value:
                    raise RegistryError(f"{where}: {key}: the variants' manifests differ in it")
        files |= {entry.path: entry for entry in manifest.files}
    variants = sorted(
        (variant for manifest in manifests for variant in manifest.variants),
        key=lambda variant: (variant.backend, variant.adapter),
    )
    merged = Manifest(
        name=first.name,
        base=first.base,
        adapters=adapters,
        backends=backends,
        files=tuple(files[path] for path in sorted(files)),
        variants=tuple(variants),
    )
    return canonical_json(asdict(merged))


def _parse(data: bytes, where: str) -> Manifest:
    try:
        return parse_manifest(json.loads(data), where=f"{where}: manifest.json")
    except (ArtifactError, ValueError, RecursionError) as error:
        raise RegistryError(f"{where}: manifest.json: {error}") from error
