"""DSSE v1 envelopes: a payload, its type, and signatures of both.

Specification: secure-systems-lab/dsse, envelope.md and protocol.md. A signature covers
PAE(type, payload), so nothing of the payload is parsed before one holds.
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ptefoundry.digest import canonical_json
from ptefoundry.errors import RegistryError, TrustError
from ptefoundry.registry.oci import parse_object
from ptefoundry.registry.trust.keys import PublicKey, Signer

SIGNATURE_LIMIT = 16
"""Signatures that an envelope may have; each costs a verification."""


@dataclass(frozen=True)
class EnvelopeSignature:
    """A signature and the key that is said to have made it."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """Bytes that nobody has looked into yet, and their signatures."""

    payload_type: str
    payload: bytes
    signatures: tuple[EnvelopeSignature, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "payloadType": self.payload_type,
            "payload": _encode(self.payload),
            "signatures": [
                {"keyid": item.keyid, "sig": _encode(item.sig)} for item in self.signatures
            ],
        }

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.to_dict())


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding, which is what signatures are of."""
    name = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


def sign_payload(payload: bytes, payload_type: str, signers: Sequence[Signer]) -> Envelope:
    """Put a payload into an envelope; without signers it is not signed."""
    data = pae(payload_type, payload)
    return Envelope(
        payload_type=payload_type,
        payload=payload,
        signatures=tuple(
            EnvelopeSignature(signer.public.id, signer.sign(data)) for signer in signers
        ),
    )


def read_envelope(data: bytes, *, limit: int, where: str) -> Envelope:
    """Read an envelope's JSON; its payload stays as it is.

    Args:
        data: the JSON.
        limit: bytes that it may have.
        where: names it in errors.

    Raises:
        RegistryError: it is no envelope, or too large.
    """
    if len(data) > limit:
        raise RegistryError(f"{where}: expected at most {limit} bytes, found {len(data)}")
    return parse_envelope(parse_object(data, where=where), where=where)


def parse_envelope(fields: Any, *, where: str) -> Envelope:
    """Take an envelope out of parsed JSON.

    Raises:
        RegistryError: it is none.
    """
    if not isinstance(fields, dict) or fields.keys() != {"payloadType", "payload", "signatures"}:
        raise RegistryError(f"{where}: expected a DSSE envelope, found {fields!r:.80}")
    signatures = fields["signatures"]
    if not isinstance(signatures, list) or len(signatures) > SIGNATURE_LIMIT:
        raise RegistryError(
            f"{where}: signatures: expected a list of at most {SIGNATURE_LIMIT}, found "
            f"{signatures!r:.80}"
        )
    return Envelope(
        payload_type=_ascii(fields["payloadType"], f"{where}: payloadType"),
        payload=_decode(fields["payload"], f"{where}: payload"),
        signatures=tuple(
            _parse_signature(item, f"{where}: signatures[{at}]")
            for at, item in enumerate(signatures)
        ),
    )


def verify_envelope(
    envelope: Envelope, payload_type: str, keys: Iterable[PublicKey], *, where: str
) -> PublicKey:
    """The first of `keys` that has signed the envelope; one is enough.

    Raises:
        TrustError: none has, or the payload is of another type.
    """
    if envelope.payload_type != payload_type:
        raise TrustError(
            f"{where}: payloadType: expected {payload_type}, found {envelope.payload_type!r:.80}"
        )
    known = {key.id: key for key in keys}
    data = pae(envelope.payload_type, envelope.payload)
    for signature in envelope.signatures:
        key = known.get(signature.keyid)
        if key is not None and key.holds(signature.sig, data):
            return key
    raise TrustError(f"{where}: {_explain(envelope, known)}")


def _explain(envelope: Envelope, known: dict[str, PublicKey]) -> str:
    wanted = ", ".join(sorted(keyid[:16] for keyid in known)) or "none that may sign this now"
    if not envelope.signatures:
        return f"expected a signature of a trusted key ({wanted}), found none"
    found = ", ".join(f"{item.keyid[:16]!a}" for item in envelope.signatures)
    if any(item.keyid in known for item in envelope.signatures):
        return f"expected a signature that holds, found that of {found} to be wrong: it was altered"
    return f"expected a signature of a trusted key ({wanted}), found only {found}"


def _parse_signature(fields: Any, where: str) -> EnvelopeSignature:
    if not isinstance(fields, dict) or fields.keys() != {"keyid", "sig"}:
        raise RegistryError(f"{where}: expected keyid and sig, found {fields!r:.80}")
    return EnvelopeSignature(
        _ascii(fields["keyid"], f"{where}: keyid"), _decode(fields["sig"], f"{where}: sig")
    )


def _ascii(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise RegistryError(f"{where}: expected an ASCII text, found {value!r:.80}")
    return value


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(value: Any, where: str) -> bytes:
    """Base64 in its one form: two texts would otherwise have one signature."""
    if isinstance(value, str) and value.isascii():
        try:
            data = base64.b64decode(value, validate=True)
        except binascii.Error:
            data = None
        if data is not None and _encode(data) == value:
            return data
    raise RegistryError(f"{where}: expected base64, found {value!r:.80}")
