"""Whatever is altered never verifies, and hostile bytes raise our own errors only."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptefoundry.digest import canonical_json
from ptefoundry.errors import RegistryError, TrustError
from ptefoundry.registry.trust.channel_envelope import (
    PAYLOAD_TYPE,
    ChannelRecord,
    check_current,
    parse_record,
)
from ptefoundry.registry.trust.dsse import pae, sign_payload
from ptefoundry.registry.trust.keys import generate_signer
from ptefoundry.registry.trust.model_signing import PREDICATE_TYPE
from ptefoundry.registry.trust.policy import TrustedKey, TrustPolicy
from ptefoundry.registry.trust.provenance import PREDICATE_TYPE as PROVENANCE_TYPE
from ptefoundry.registry.trust.provenance import open_provenance
from ptefoundry.registry.trust.sigstore_bundle import make_statement, sign_statement
from ptefoundry.registry.trust.version_signatures import sign_version, verify_version
from support.signed_bundle import INDEX, version_files

NOW = 1_800_000_000.0
SIGNER = generate_signer()
POLICY = TrustPolicy(keys=(TrustedKey(key=SIGNER.public),))
WHOLE = f"version.{SIGNER.public.id[:16]}.sig"
RECORD = ChannelRecord(
    name="assistant",
    channel="stable",
    number=1,
    version="1.4.0",
    digest=INDEX,
    size=1234,
    previous=None,
    time="2027-01-15T08:00:00Z",
    expires="2027-01-22T08:00:00Z",
    by="ci",
    reason="release",
    action="push",
)


def _open_record(data: bytes, policy: TrustPolicy | None = POLICY) -> None:
    record = parse_record(data, name="assistant", channel="stable", policy=policy, where="here")
    check_current(record, data, policy=policy, now=NOW, where="here")


def _open_version(data: bytes) -> None:
    verify_version({WHOLE: data}, version_files(), policy=POLICY, now=NOW, where="here")


def _open_provenance(data: bytes) -> None:
    open_provenance(data, name="assistant", index=INDEX, policy=POLICY, now=NOW, where="here")


_PROVENANCE = make_statement(
    [("assistant@1.4.0", INDEX.removeprefix("sha256:"))], PROVENANCE_TYPE, {"a": 1}
)
DOCUMENTS: dict[str, tuple[bytes, Callable[[bytes], None]]] = {
    "channel": (RECORD.to_bytes([SIGNER]), _open_record),
    "version": (sign_version(version_files(), [SIGNER])[WHOLE], _open_version),
    "provenance": (sign_statement(_PROVENANCE, SIGNER), _open_provenance),
}
#: What another record could say as well.
_WELL_FORMED = [
    ("format", 1),
    ("expires", None),
    ("digest", "sha256:" + "0" * 64),
    *vars(RECORD).items(),
]
#: What no signature covers and what means nothing in a Sigstore bundle.
_UNSIGNED = b'"tlogEntries"'

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["sha256:" + "0" * 64, "2027-01-15T08:00:00Z", "sha256", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_documents_verify_as_they_are(kind: str) -> None:
    data, opened = DOCUMENTS[kind]
    opened(data)


@pytest.mark.parametrize("kind", DOCUMENTS)
@given(draw=st.data())
def test_altered_byte_never_verifies(kind: str, draw: st.DataObject) -> None:
    data, opened = DOCUMENTS[kind]
    at = draw.draw(st.integers(0, len(data) - 1))
    byte = draw.draw(st.integers(0, 255).filter(lambda value: value != data[at]))
    spared = data.find(_UNSIGNED)
    if spared >= 0 and spared <= at < spared + len(_UNSIGNED) + 3:
        return
    altered = data[:at] + bytes([byte]) + data[at + 1 :]
    if kind != "channel" and _same_json(altered, data):
        return
    with pytest.raises((TrustError, RegistryError)):
        opened(altered)


@pytest.mark.parametrize("kind", DOCUMENTS)
@given(draw=st.data())
def test_cut_or_padded_document_never_verifies(kind: str, draw: st.DataObject) -> None:
    data, opened = DOCUMENTS[kind]
    end = draw.draw(st.integers(0, len(data) - 1))
    with pytest.raises((TrustError, RegistryError)):
        opened(data[:end])
    with pytest.raises((TrustError, RegistryError)):
        opened(data + draw.draw(st.binary(min_size=1).filter(lambda extra: extra.strip())))


@pytest.mark.parametrize("field", ["keyid", "sig"])
@given(draw=st.data())
def test_altered_signature_or_key_id_never_verifies(field: str, draw: st.DataObject) -> None:
    envelope = json.loads(RECORD.to_bytes([SIGNER]))
    text = envelope["signatures"][0][field]
    other = draw.draw(st.text() | st.just(text.swapcase()) | st.just(text + "="))
    if other == text:
        return
    envelope["signatures"][0][field] = other
    with pytest.raises((TrustError, RegistryError)):
        _open_record(json.dumps(envelope, ensure_ascii=True).encode())


@given(data=st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_hostile_bytes_raise_our_errors_only(data: bytes) -> None:
    for opened in (_open_record, _open_version, _open_provenance):
        with pytest.raises((TrustError, RegistryError)):
            opened(data)
    with pytest.raises((TrustError, RegistryError)):
        _open_record(data, policy=None)


@given(
    field=st.sampled_from(["format", *vars(RECORD)]),
    value=json_values,
)
def test_hostile_payload_raises_our_errors_only(field: str, value: object) -> None:
    """Signed by a trusted key, or not signed at all: the payload is read with the same care."""
    fields = {"format": 1, **vars(RECORD), field: value}
    data = sign_payload(json.dumps(fields).encode(), PAYLOAD_TYPE, [SIGNER]).to_bytes()
    for policy in (POLICY, None):
        try:
            _open_record(data, policy)
        except (TrustError, RegistryError):
            continue
        assert field in {"by", "reason", "size"} or (field, value) in _WELL_FORMED


@given(predicate=json_values, subject=json_values)
def test_hostile_statement_raises_our_errors_only(predicate: object, subject: object) -> None:
    for kind, opened in ((PREDICATE_TYPE, _open_version), (PROVENANCE_TYPE, _open_provenance)):
        statement = {**make_statement([], kind, {}), "predicate": predicate, "subject": subject}
        text = json.dumps(statement).encode()
        envelope = sign_payload(text, "application/vnd.in-toto+json", [SIGNER])
        bundle = json.loads(sign_statement(_PROVENANCE, SIGNER))
        bundle["dsseEnvelope"] = envelope.to_dict()
        with pytest.raises((TrustError, RegistryError)):
            opened(canonical_json(bundle))


@given(kind=st.text(), payload=st.binary(), other=st.text(), rest=st.binary())
def test_pae_tells_type_and_payload_apart(
    kind: str, payload: bytes, other: str, rest: bytes
) -> None:
    assert (pae(kind, payload) == pae(other, rest)) == ((kind, payload) == (other, rest))


def _same_json(altered: bytes, data: bytes) -> bool:
    """Whether only the way it is written differs, which no field of a bundle does."""
    try:
        return bool(json.loads(altered) == json.loads(data))
    except ValueError:
        return False
