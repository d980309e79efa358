"""Signatures of bundles in the format of OpenSSF model-signing v1.0.

Specification: sigstore/model-transparency, docs/model_signing_format.md. `model_signing
verify key` reads every file of a folder and compares; here they are made of digests that
are known already. A field of our own, which other verifiers ignore, says which version
the files are of, so that no signed file can be passed off as another version's.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ptefoundry.bundle.manifest import MANIFEST_FILE, MEASURED_FILE, SIGNATURES
from ptefoundry.digest import parse_sha256
from ptefoundry.errors import ConfigError, RegistryError, TrustError
from ptefoundry.registry.documents import Fields
from ptefoundry.registry.facts import PREFIX
from ptefoundry.registry.names import is_digest
from ptefoundry.registry.trust.keys import Signer
from ptefoundry.registry.trust.policy import TrustPolicy
from ptefoundry.registry.trust.sigstore_bundle import (
    make_statement,
    open_statement,
    sign_statement,
    statement_subjects,
)

PREDICATE_TYPE = "https://model_signing/signature/v1.0"
IGNORED_PATHS = (MANIFEST_FILE, MEASURED_FILE, SIGNATURES)
"""What is beside the signed files: pulling merges it or adds it."""
_VERSION_FIELD = f"{PREFIX}version"


@dataclass(frozen=True, kw_only=True)
class SignedFiles:
    """What a signature says: these files belong to that version."""

    name: str
    version: str
    index: str
    """Digest of the version's OCI index, `sha256:<hex>`."""
    files: Mapping[str, str]
    """Path -> hex SHA-256."""
    variant: str | None = None
    """`backend/adapter` if these are the files of one variant, None for all of the version."""


def sign_files(signed: SignedFiles, signer: Signer) -> bytes:
    """A `model.sig`.

    Raises:
        RegistryError: there are no files, or one is called like what is not signed.
    """
    _check_paths(signed.files, where=f"{signed.name}@{signed.version}")
    order = sorted(signed.files, key=PurePosixPath)
    predicate = {
        "serialization": {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": False,
            "ignore_paths": list(IGNORED_PATHS),
        },
        "resources": [
            {"name": path, "algorithm": "sha256", "digest": signed.files[path]} for path in order
        ],
        _VERSION_FIELD: {
            "name": signed.name,
            "version": signed.version,
            "index": signed.index,
            "variant": signed.variant,
        },
    }
    root = _root(signed.files[path] for path in order)
    return sign_statement(make_statement([(signed.name, root)], PREDICATE_TYPE, predicate), signer)


def open_signature(
    data: bytes,
    *,
    name: str,
    version: str,
    index: str,
    policy: TrustPolicy,
    now: float,
    where: str,
) -> SignedFiles:
    """What a trusted key has signed of the version that was asked for.

    First `read_signature`, then that it is about this version; which files there are is for
    `SignedFiles.files` to be compared with.

    Args:
        data: a `model.sig`.
        name: of the bundle that was asked for.
        version: that was asked for.
        index: digest of the version's index that is about to be used.
        policy: whose signature counts.
        now: seconds since 1970, when the key must count.
        where: names the signature in errors.

    Raises:
        TrustError: no trusted key has signed it, or it is of another version.
        RegistryError: it is malformed.
    """
    signed = read_signature(data, name=name, policy=policy, now=now, where=where)
    if (found := (signed.name, signed.version, signed.index)) != (name, version, index):
        raise TrustError(
            f"{where}: expected the signature of {name}@{version} with index {index}, found that "
            f"of {found[0]}@{found[1]} with index {found[2]}"
        )
    return signed


def read_signature(
    data: bytes, *, name: str, policy: TrustPolicy, now: float, where: str
) -> SignedFiles:
    """What a trusted key has signed, of whatever version: the signature, then its subject.

    Args:
        data: a `model.sig`.
        name: of the bundle that the key must be trusted for.
        policy: whose signature counts.
        now: seconds since 1970, when the key must count.
        where: names the signature in errors.

    Raises:
        TrustError: no trusted key has signed it, or its subject is not that of its files.
        RegistryError: it is malformed.
    """
    statement = open_statement(data, PREDICATE_TYPE, policy=policy, name=name, now=now, where=where)
    predicate = statement.get("predicate")
    if not isinstance(predicate, dict):
        raise RegistryError(f"{where}: predicate: expected an object, found {predicate!r:.80}")
    files = _read_resources(predicate, where)
    root = _root(files.values())
    subjects = statement_subjects(statement, where=where)
    if list(subjects.values()) != [root]:
        raise TrustError(
            f"{where}: subject: expected the digest {root} of its resources, found "
            f"{subjects!r:.160}"
        )
    return _read_version(predicate, files, where)


def check_files(signed: SignedFiles, files: Mapping[str, str], *, where: str) -> None:
    """Refuse files that the signature does not name, or names otherwise.

    Args:
        signed: what was signed.
        files: of the manifests, path -> hex SHA-256; those of some variants or of all.
        where: names the signature in errors.

    Raises:
        TrustError: a file is not signed, has another digest, or there is none at all.
    """
    if not files:
        raise TrustError(f"{where}: expected files to be compared, found none")
    for path in sorted(files):
        if signed.files.get(path) != files[path]:
            raise TrustError(
                f"{where}: expected {path} with sha256 {signed.files.get(path, 'none: unsigned')}, "
                f"found {files[path]} in the manifest"
            )


def _read_resources(predicate: Mapping[str, Any], where: str) -> dict[str, str]:
    serialization, resources = predicate.get("serialization"), predicate.get("resources")
    if not isinstance(serialization, dict) or not isinstance(resources, list):
        raise RegistryError(f"{where}: predicate: expected serialization and resources")
    found = serialization.get("method"), serialization.get("hash_type")
    if found != ("files", "sha256"):
        raise RegistryError(f"{where}: serialization: expected files by sha256, found {found!r}")
    files: dict[str, str] = {}
    for at, item in enumerate(resources):
        field = f"{where}: resources[{at}]"
        path, digest = _read_resource(item, field)
        if path in files:
            raise RegistryError(f"{field}: expected each path once, found {path!r} again")
        files[path] = digest
    _check_paths(files, where=where)
    return files


def _read_resource(item: Any, where: str) -> tuple[str, str]:
    if not isinstance(item, dict):
        raise RegistryError(f"{where}: expected an object, found {item!r:.80}")
    fields = Fields(item, where=where)
    fields.same("algorithm", "sha256")
    digest = fields.text("digest")
    if not is_digest(f"sha256:{digest}"):
        raise RegistryError(f"{where}: digest: expected 64 hex digits, found {digest!r:.80}")
    return fields.text("name"), digest


def _read_version(predicate: Mapping[str, Any], files: dict[str, str], where: str) -> SignedFiles:
    item = predicate.get(_VERSION_FIELD)
    if not isinstance(item, dict):
        raise TrustError(
            f"{where}: {_VERSION_FIELD}: expected the version that was signed, found none; the "
            "signature was not made by `ptefoundry push`"
        )
    fields = Fields(item, where=f"{where}: {_VERSION_FIELD}")
    return SignedFiles(
        name=fields.text("name"),
        version=fields.text("version"),
        index=fields.digest("index"),
        files=files,
        variant=fields.optional_text("variant"),
    )


def _check_paths(files: Mapping[str, str], *, where: str) -> None:
    """What other verifiers skip must not look signed, and an empty list says nothing."""
    if not files:
        raise RegistryError(f"{where}: expected files to be signed, found none")
    for path, digest in files.items():
        if path.partition("/")[0] in IGNORED_PATHS:
            raise RegistryError(f"{where}: expected files of the model only, found {path!r}")
        try:
            parse_sha256(digest, where=f"{where}: {path}")
        except ConfigError as error:
            raise RegistryError(str(error)) from error


def _root(digests: Any) -> str:
    """SHA-256 over the digests' own bytes, one after the other."""
    root = hashlib.sha256()
    for digest in digests:
        root.update(bytes.fromhex(digest))
    return root.hexdigest()
