"""Checking a pulled folder by itself, without the registry that it came from.

Its files are compared with its manifest, and with what a trusted key has signed. The
manifest of a folder is not signed, as it was merged from those of the variants: so each
variant that it lists must have exactly the files that were signed as this variant's, and all
variants must be of one version.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.bundle.check import check_files
from ptefoundry.bundle.manifest import SIGNATURES, Manifest, Variant, load_manifest
from ptefoundry.errors import RegistryError, TrustError
from ptefoundry.registry.modelpack import files_of
from ptefoundry.registry.trust.model_signing import SignedFiles, read_signature
from ptefoundry.registry.trust.policy import TrustPolicy
from ptefoundry.registry.trust.version_signatures import SIGNATURE_SUFFIX

_MOST_SIGNATURES = 64
"""Signatures of a variant that are tried."""


@dataclass(frozen=True, kw_only=True)
class CheckedFolder:
    """A folder whose files are those of its manifest."""

    name: str
    """Of the bundle."""
    version: str | None
    """That its files were signed as; None if nobody's signature was demanded."""
    variants: tuple[str, ...]
    """`backend/adapter`"""
    files: int
    """Files that the manifest lists."""
    bytes: int
    signatures: int
    """Files in `signatures`, verified or not."""


def check_folder(folder: Path, *, policy: TrustPolicy | None, now: float) -> CheckedFolder:
    """Read every file of a pulled folder and compare it with what it must be.

    Args:
        folder: as `pull` has left it, with all variants of a version or some.
        policy: whose signatures are demanded; None: they are not looked at.
        now: seconds since 1970, when the keys must count.

    Raises:
        ArtifactError: there is no manifest that can be read.
        VerificationError: files differ from the manifest; the message lists them.
        TrustError: no trusted key has signed these files as the variants of one version.
    """
    check_files(folder)
    manifest = load_manifest(folder)
    found = {path.name: path for path in (folder / SIGNATURES).glob(f"*{SIGNATURE_SUFFIX}")}
    signed = None if policy is None else _check_signatures(folder, manifest, found, policy, now)
    return CheckedFolder(
        name=manifest.name,
        version=signed,
        variants=tuple(f"{one.backend}/{one.adapter}" for one in manifest.variants),
        files=len(manifest.files),
        bytes=sum(entry.size for entry in manifest.files),
        signatures=len(found),
    )


def _check_signatures(
    folder: Path, manifest: Manifest, found: Mapping[str, Path], policy: TrustPolicy, now: float
) -> str:
    """The one version that all variants are signed as."""
    versions: dict[tuple[str, str], str] = {}
    for variant in manifest.variants:
        label = f"{variant.backend}/{variant.adapter}"
        signed = _open_variant(folder, manifest, variant, found, policy, now)
        versions.setdefault((signed.version, signed.index), label)
    if len(versions) != 1:
        listed = ", ".join(f"{label} of {version}" for (version, _), label in versions.items())
        raise TrustError(
            f"{folder}: expected the variants of one version, found {listed or 'no variant'}; "
            "pull again"
        )
    ((version, _),) = versions
    return version


def _open_variant(
    folder: Path,
    manifest: Manifest,
    variant: Variant,
    found: Mapping[str, Path],
    policy: TrustPolicy,
    now: float,
) -> SignedFiles:
    """A trusted key's signature of exactly this variant's files."""
    label, problems = f"{variant.backend}/{variant.adapter}", []
    names = sorted(name for name in found if name.startswith(label.replace("/", ".") + "."))
    files = {entry.path: entry.sha256 for entry in files_of(manifest, variant)}
    for name in names[:_MOST_SIGNATURES]:
        where = str(found[name])
        try:
            data = found[name].read_bytes()
            signed = read_signature(data, name=manifest.name, policy=policy, now=now, where=where)
            _check_same(signed, manifest.name, label, files, where)
        except (TrustError, RegistryError) as error:
            problems.append(str(error))
            continue
        return signed
    raise TrustError(
        "\n".join(problems)
        or f"{folder}: {label}: expected a signature in {SIGNATURES}, found none; pull a version "
        "that was pushed with a key"
    )


def _check_same(
    signed: SignedFiles, name: str, variant: str, files: Mapping[str, str], where: str
) -> None:
    if (signed.name, signed.variant) != (name, variant):
        raise TrustError(
            f"{where}: expected the signature of {variant} of {name}, found that of "
            f"{signed.variant or 'all variants'} of {signed.name}"
        )
    for path in sorted(files.keys() | signed.files.keys()):
        expected, here = (one.get(path, "no such file") for one in (signed.files, files))
        if expected != here:
            raise TrustError(f"{where}: {variant}: {path}: expected {expected}, found {here}")
