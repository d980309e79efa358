"""All signatures of a version: of everything, and of each variant for who pulls just that.

>>> files = sign_version(version, [signer])
>>> sorted(files)
['version.3fa9….sig', 'xnnpack.base.3fa9….sig', 'xnnpack.nobel.3fa9….sig']
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ptefoundry.errors import RegistryError, TrustError
from ptefoundry.registry.trust.keys import Signer
from ptefoundry.registry.trust.model_signing import (
    SignedFiles,
    check_files,
    open_signature,
    sign_files,
)
from ptefoundry.registry.trust.policy import TrustPolicy

SIGNATURE_SUFFIX = ".sig"
_WHOLE = "version"
_ID_DIGITS = 16
_LARGEST_COUNT = 64
"""Signatures of a whole version that are tried."""


@dataclass(frozen=True, kw_only=True)
class VersionFiles:
    """A version as it is signed."""

    name: str
    version: str
    index: str
    """Digest of its OCI index, `sha256:<hex>`."""
    variants: Mapping[str, Mapping[str, str]]
    """`backend/adapter` -> path -> hex SHA-256, without the manifest."""

    @property
    def files(self) -> dict[str, str]:
        """All files of all variants.

        Raises:
            RegistryError: two variants have different files under one path.
        """
        found: dict[str, str] = {}
        for variant, files in self.variants.items():
            for path, digest in files.items():
                if found.setdefault(path, digest) != digest:
                    raise RegistryError(
                        f"{self.name}@{self.version}: {variant}: {path}: expected the file of the "
                        f"other variants, {found[path]}, found {digest}"
                    )
        return found


def sign_version(version: VersionFiles, signers: Sequence[Signer]) -> dict[str, bytes]:
    """Sign a version and each of its variants with each key.

    Signing again gives the same bytes, and the names tell keys apart, so that signatures
    of several keys stand beside each other.

    Returns:
        Name in the folder `signatures` -> what is in the file.

    Raises:
        RegistryError: the version has no files, or contradicts itself.
    """
    parts: dict[str, tuple[str | None, Mapping[str, str]]] = {_WHOLE: (None, version.files)}
    parts |= {name.replace("/", "."): (name, files) for name, files in version.variants.items()}
    return {
        f"{stem}.{signer.public.id[:_ID_DIGITS]}{SIGNATURE_SUFFIX}": sign_files(
            SignedFiles(
                name=version.name,
                version=version.version,
                index=version.index,
                files=files,
                variant=variant,
            ),
            signer,
        )
        for signer in signers
        for stem, (variant, files) in parts.items()
    }


def open_version(
    signatures: Mapping[str, bytes],
    *,
    name: str,
    version: str,
    index: str,
    policy: TrustPolicy,
    now: float,
    where: str,
) -> SignedFiles:
    """What a trusted key has signed as all of a version; one signature is enough.

    To be called when the index's own digest has been checked and before anything that it
    refers to is believed.

    Args:
        signatures: name -> what is in the file, of whatever keys.
        name: of the bundle that was asked for.
        version: that was asked for.
        index: digest of the version's index.
        policy: whose signature counts.
        now: seconds since 1970.
        where: names the version in errors.

    Raises:
        TrustError: there is no such signature; the text says why not for each.
    """
    problems = []
    for file in _whole_version(signatures):
        try:
            signed = open_signature(
                signatures[file],
                name=name,
                version=version,
                index=index,
                policy=policy,
                now=now,
                where=f"{where}: {file}",
            )
        except (TrustError, RegistryError) as error:
            problems.append(str(error))
            continue
        if signed.variant is None:
            return signed
        problems.append(f"{where}: {file}: expected a signature of all, found {signed.variant}'s")
    raise TrustError(
        "\n".join(problems)
        or f"{where}: expected a signature of the whole version, found none; "
        "push it again with a key, or ask who published it to sign it"
    )


def verify_version(
    signatures: Mapping[str, bytes],
    version: VersionFiles,
    *,
    policy: TrustPolicy,
    now: float,
    where: str,
) -> None:
    """Verify a version's signature against its manifests, for all of its variants or some.

    Raises:
        TrustError: no trusted key has signed this version, or a file of it.
    """
    signed = open_version(
        signatures,
        name=version.name,
        version=version.version,
        index=version.index,
        policy=policy,
        now=now,
        where=where,
    )
    check_files(signed, version.files, where=where)


def _whole_version(signatures: Mapping[str, bytes]) -> list[str]:
    found = sorted(file for file in signatures if file.startswith(f"{_WHOLE}."))
    return found[:_LARGEST_COUNT]
