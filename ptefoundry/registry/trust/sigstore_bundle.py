"""Signed in-toto statements as Sigstore bundles: the file that other tools verify.

A bundle v0.3 carries one DSSE envelope with one signature and names its key by the hex
SHA-256 of the public PEM. There is no transparency log: keys are given, not looked up.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ptefoundry.digest import canonical_json
from ptefoundry.errors import RegistryError, TrustError
from ptefoundry.registry.oci import DOCUMENT_LIMIT, parse_object
from ptefoundry.registry.trust.dsse import Envelope, parse_envelope, sign_payload
from ptefoundry.registry.trust.keys import Signer
from ptefoundry.registry.trust.policy import TrustPolicy

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
BUNDLE_LIMIT = DOCUMENT_LIMIT
"""Bytes that a bundle may have."""


def make_statement(
    subjects: Sequence[tuple[str, str]], predicate_type: str, predicate: Mapping[str, Any]
) -> dict[str, Any]:
    """An in-toto statement v1.

    Args:
        subjects: names, and hex SHA-256 of what they name.
        predicate_type: what the predicate says of them.
        predicate: as JSON has it.
    """
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in subjects],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }


def sign_statement(statement: Mapping[str, Any], signer: Signer) -> bytes:
    """A statement in a bundle with one signature; canonical JSON throughout."""
    envelope = sign_payload(canonical_json(statement), PAYLOAD_TYPE, [signer])
    return canonical_json(
        {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {
                "publicKey": {"hint": signer.public.id},
                "tlogEntries": [],
            },
            "dsseEnvelope": envelope.to_dict(),
        }
    )


def open_statement(
    data: bytes, predicate_type: str, *, policy: TrustPolicy, name: str, now: float, where: str
) -> dict[str, Any]:
    """The statement of a bundle that a trusted key has signed.

    Args:
        data: the bundle.
        predicate_type: that the statement must have.
        policy: whose signature counts.
        name: of the model bundle that the statement is about.
        now: seconds since 1970, when the key must count.
        where: names the bundle in errors.

    Raises:
        TrustError: no trusted key has signed it, or it is another kind of statement.
        RegistryError: it is malformed.
    """
    envelope = _read_bundle(data, where)
    policy.verify_at(envelope, PAYLOAD_TYPE, name=name, at=now, where=where)
    statement = parse_object(envelope.payload, where=where)
    found = statement.get("_type"), statement.get("predicateType")
    if found != (STATEMENT_TYPE, predicate_type):
        raise TrustError(f"{where}: expected a statement {predicate_type}, found {found!r:.160}")
    return statement


def statement_subjects(statement: Mapping[str, Any], *, where: str) -> dict[str, str]:
    """A statement's subjects: names, and hex SHA-256 of what they name.

    Raises:
        RegistryError: they are malformed, or two have one name.
    """
    subjects = statement.get("subject")
    if not isinstance(subjects, list) or not subjects:
        raise RegistryError(f"{where}: subject: expected a list, found {subjects!r:.80}")
    found = dict(_read_subject(item, f"{where}: subject[{at}]") for at, item in enumerate(subjects))
    if len(found) != len(subjects):
        raise RegistryError(f"{where}: subject: expected each name once")
    return found


def _read_subject(item: Any, where: str) -> tuple[str, str]:
    digest = item.get("digest") if isinstance(item, dict) else None
    sha256 = digest.get("sha256") if isinstance(digest, dict) else None
    if not isinstance(sha256, str) or not isinstance(item.get("name"), str):
        raise RegistryError(f"{where}: expected a name and a sha256, found {item!r:.80}")
    return item["name"], sha256


def _read_bundle(data: bytes, where: str) -> Envelope:
    fields = parse_object(data, where=where)
    if fields.get("mediaType") != BUNDLE_TYPE:
        raise RegistryError(
            f"{where}: mediaType: expected {BUNDLE_TYPE}, found {fields.get('mediaType')!r:.80}"
        )
    hint = _read_hint(fields.get("verificationMaterial"), where)
    envelope = parse_envelope(
        _with_keyid(fields.get("dsseEnvelope"), hint), where=f"{where}: dsseEnvelope"
    )
    if [item.keyid for item in envelope.signatures] != [hint]:
        raise RegistryError(
            f"{where}: dsseEnvelope: signatures: expected one, by the key of verificationMaterial"
        )
    return envelope


def _read_hint(material: Any, where: str) -> str:
    key = material.get("publicKey") if isinstance(material, dict) else None
    hint = key.get("hint") if isinstance(key, dict) else None
    if not isinstance(hint, str):
        raise RegistryError(
            f"{where}: verificationMaterial: publicKey: hint: expected a key's id, found "
            f"{material!r:.80}"
        )
    return hint


def _with_keyid(envelope: Any, hint: str) -> Any:
    """The envelope with the key's id where other tools leave it out."""
    signatures = envelope.get("signatures") if isinstance(envelope, dict) else None
    if not isinstance(signatures, list):
        return envelope
    named = [
        {**item, "keyid": hint} if isinstance(item, dict) and not item.get("keyid") else item
        for item in signatures
    ]
    return {**envelope, "signatures": named}
