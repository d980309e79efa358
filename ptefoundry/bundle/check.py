"""Comparing a bundle's files with its manifest."""

from collections.abc import Iterator
from pathlib import Path

from ptefoundry.bundle.manifest import (
    MANIFEST_FILE,
    MEASURED_FILE,
    SIGNATURES,
    Manifest,
    load_manifest,
)
from ptefoundry.digest import hash_file
from ptefoundry.errors import VerificationError


def check_files(folder: Path) -> None:
    """Check that a bundle holds the files of its manifest, and no others.

    Measurements and signatures may be there; the latter are not looked at.

    Raises:
        ArtifactError: the manifest cannot be read.
        VerificationError: it does not; the message lists all differences.
    """
    if differences := find_differences(folder):
        raise VerificationError(
            f"{folder}: {len(differences)} differences from the manifest:\n  "
            + "\n  ".join(differences)
        )


def find_differences(folder: Path) -> list[str]:
    """Compare every file of a bundle with the manifest, by size and sha256.

    Raises:
        ArtifactError: the manifest cannot be read.
    """
    manifest = load_manifest(folder)
    return [*_altered_files(folder, manifest), *_foreign_files(folder, manifest)]


def _altered_files(folder: Path, manifest: Manifest) -> Iterator[str]:
    for entry in manifest.files:
        path = folder / entry.path
        if not path.is_file():
            yield f"{entry.path}: missing"
        elif path.stat().st_size != entry.size:
            yield f"{entry.path}: expected {entry.size} bytes, found {path.stat().st_size}"
        elif (found := hash_file(path)) != entry.sha256:
            yield f"{entry.path}: expected sha256 {entry.sha256}, found {found}"


def _foreign_files(folder: Path, manifest: Manifest) -> Iterator[str]:
    known = {MANIFEST_FILE, MEASURED_FILE, *(entry.path for entry in manifest.files)}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir() and name not in known and not name.startswith(f"{SIGNATURES}/"):
            yield f"{name}: not in the manifest"
