import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ptefoundry.errors import RegistryError, TrustError
from ptefoundry.registry.documents import format_time
from ptefoundry.registry.trust.channel_envelope import (
    PAYLOAD_TYPE,
    ChannelRecord,
    check_current,
    parse_record,
)
from ptefoundry.registry.trust.dsse import sign_payload
from ptefoundry.registry.trust.keys import Signer, generate_signer
from ptefoundry.registry.trust.policy import TrustedKey, TrustPolicy
from ptefoundry.registry.trust.seen import SeenRecords

NOW = 1_800_000_000.0
DAY = 86_400.0
SIGNER = generate_signer()
OTHER = generate_signer()
POLICY = TrustPolicy(keys=(TrustedKey(key=SIGNER.public),))
FIRST = ChannelRecord(
    name="assistant",
    channel="stable",
    number=1,
    version="1.4.0",
    digest="sha256:" + "ab" * 32,
    size=1234,
    previous=None,
    time=format_time(NOW),
    expires=format_time(NOW + 7 * DAY),
    by="ci",
    reason="release",
    action="push",
)


def _next(record: ChannelRecord, *, signers=(SIGNER,), **changes) -> ChannelRecord:
    import hashlib

    previous = "sha256:" + hashlib.sha256(record.to_bytes(signers)).hexdigest()
    return replace(record, number=record.number + 1, previous=previous, **changes)


def _parse(data: bytes, policy: TrustPolicy | None = POLICY) -> ChannelRecord:
    return parse_record(data, name="assistant", channel="stable", policy=policy, where="here")


def _check(record: ChannelRecord, policy: TrustPolicy | None, now: float, signers=(SIGNER,)):
    check_current(record, record.to_bytes(signers), policy=policy, now=now, where="here")


@pytest.mark.parametrize("signers", [(SIGNER,), (OTHER, SIGNER)])
def test_signed_record_is_read(signers: tuple[Signer, ...]) -> None:
    assert _parse(FIRST.to_bytes(signers)) == FIRST


def test_signing_again_gives_the_same_bytes() -> None:
    assert FIRST.to_bytes([SIGNER]) == FIRST.to_bytes([SIGNER])


def test_without_a_policy_signatures_are_not_needed() -> None:
    assert _parse(FIRST.to_bytes(), policy=None) == FIRST
    assert _parse(FIRST.to_bytes([OTHER]), policy=None) == FIRST


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (FIRST.to_bytes(), "found none"),
        (FIRST.to_bytes([OTHER]), "found only"),
        (
            FIRST.to_bytes([OTHER]).replace(OTHER.public.id.encode(), SIGNER.public.id.encode()),
            "altered",
        ),
    ],
)
def test_record_that_no_trusted_key_signed_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(TrustError, match=rf"here: .*{problem}"):
        _parse(data)


def test_payload_is_not_parsed_before_a_signature_holds() -> None:
    with pytest.raises(TrustError, match="found only"):
        _parse(sign_payload(b"no JSON", PAYLOAD_TYPE, [OTHER]).to_bytes())
    with pytest.raises(RegistryError, match="expected JSON"):
        _parse(sign_payload(b"no JSON", PAYLOAD_TYPE, [SIGNER]).to_bytes())


@pytest.mark.parametrize("policy", [POLICY, None])
def test_record_of_another_type_is_refused(policy: TrustPolicy | None) -> None:
    data = sign_payload(b"{}", "application/vnd.in-toto+json", [SIGNER]).to_bytes()
    with pytest.raises((TrustError, RegistryError), match="payloadType"):
        _parse(data, policy)


@pytest.mark.parametrize("changes", [{"name": "other"}, {"channel": "beta"}])
def test_record_of_another_channel_is_refused(changes: dict[str, str]) -> None:
    data = replace(FIRST, **changes).to_bytes([SIGNER])
    for policy in (POLICY, None):
        with pytest.raises(TrustError, match=r"expected a record of assistant:stable"):
            _parse(data, policy)


def test_key_may_be_limited_to_bundles() -> None:
    policy = TrustPolicy(keys=(TrustedKey(key=SIGNER.public, names=frozenset({"other"})),))
    with pytest.raises(TrustError, match="none that may sign"):
        _parse(FIRST.to_bytes([SIGNER]), policy)


def test_envelope_has_one_form_only() -> None:
    data = FIRST.to_bytes([SIGNER])
    for other in (data + b"\n", json.dumps(json.loads(data)).encode()):
        with pytest.raises(RegistryError, match="canonical"):
            _parse(other)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"number": 0}, "number"),
        ({"number": 100_000_000, "previous": FIRST.digest}, "number"),
        ({"number": True}, "number"),
        ({"number": 2}, "previous"),
        ({"previous": FIRST.digest}, "previous"),
        ({"version": "1"}, "version"),
        ({"digest": "sha256:x"}, "digest"),
        ({"size": -1}, "size"),
        ({"time": "now"}, "time"),
        ({"expires": 5}, "expires"),
        ({"action": "delete"}, "action"),
        ({"reason": "two\nlines"}, "reason"),
        ({"reason": "\x1b[2J"}, "reason"),
        ({"by": "\u202egnp.exe"}, "by"),
        ({"channel": "../up"}, "channel"),
    ],
)
def test_malformed_record_is_neither_made_nor_read(changes, problem: str) -> None:
    with pytest.raises(RegistryError, match=problem):
        replace(FIRST, **changes).to_bytes([SIGNER])
    fields = {**json.loads(base64.b64decode(json.loads(FIRST.to_bytes())["payload"])), **changes}
    data = sign_payload(json.dumps(fields).encode(), PAYLOAD_TYPE, [SIGNER]).to_bytes()
    with pytest.raises(RegistryError, match=problem):
        _parse(data)


def test_expired_record_is_refused() -> None:
    _check(FIRST, POLICY, NOW + 7 * DAY - 1)
    for policy in (POLICY, None):
        with pytest.raises(TrustError, match=r"here: .*number 1, which expired on 2027-01-22"):
            _check(FIRST, policy, NOW + 7 * DAY)


def test_policy_demands_that_records_expire() -> None:
    record = replace(FIRST, expires=None)
    _check(record, None, NOW)
    _check(record, replace(POLICY, require_expiry=False), NOW)
    with pytest.raises(TrustError, match="require_expiry"):
        _check(record, POLICY, NOW)


def test_keys_count_in_their_time() -> None:
    """Two keys at once, and an old one that has signed the history."""
    old = TrustedKey(key=SIGNER.public, not_after=NOW + DAY)
    new = TrustedKey(key=OTHER.public, not_before=NOW - DAY)
    policy = TrustPolicy(keys=(old, new))
    for signers in ([SIGNER], [OTHER], [SIGNER, OTHER]):
        assert _parse(FIRST.to_bytes(signers), policy) == FIRST
        _check(FIRST, policy, NOW, signers)
    # The history stays readable, but what the old key has signed is acted upon no longer.
    with pytest.raises(TrustError, match="counted until 2027-01-16"):
        _check(FIRST, policy, NOW + DAY + 1, [SIGNER])
    _check(FIRST, policy, NOW + DAY + 1, [SIGNER, OTHER])
    late, early = (replace(FIRST, time=format_time(NOW + days * DAY)) for days in (2, -2))
    assert _parse(late.to_bytes([SIGNER, OTHER]), policy) == late
    with pytest.raises(TrustError, match="counted until 2027-01-16"):
        _parse(late.to_bytes([SIGNER]), policy)
    with pytest.raises(TrustError, match="counts from 2027-01-14"):
        _parse(early.to_bytes([OTHER]), policy)


def test_older_record_than_seen_is_refused(tmp_path: Path) -> None:
    seen = SeenRecords(tmp_path, "https://registry.example/")
    second = _next(FIRST, version="1.5.0", action="push")
    seen.admit(FIRST, FIRST.to_bytes([SIGNER]), where="here")
    for _ in range(2):
        seen.admit(second, second.to_bytes([SIGNER]), where="here")
    with pytest.raises(TrustError, match=r"here: expected record number 2 .* found 1"):
        seen.admit(FIRST, FIRST.to_bytes([SIGNER]), where="here")
    # Another channel, and another registry, begin anew.
    beta = replace(FIRST, channel="beta")
    seen.admit(beta, beta.to_bytes([SIGNER]), where="here")
    mirror = SeenRecords(tmp_path, "https://mirror.example/")
    mirror.admit(FIRST, FIRST.to_bytes([SIGNER]), where="here")


def test_another_history_than_seen_is_refused(tmp_path: Path) -> None:
    seen = SeenRecords(tmp_path, "https://registry.example/")
    seen.admit(FIRST, FIRST.to_bytes([SIGNER]), where="here")
    twin = replace(FIRST, version="1.3.0")
    with pytest.raises(TrustError, match="another history"):
        seen.admit(twin, twin.to_bytes([SIGNER]), where="here")
    child = _next(twin)
    with pytest.raises(TrustError, match="another history"):
        seen.admit(child, child.to_bytes([SIGNER]), where="here")
    # Records in between may have been missed.
    later = _next(_next(twin))
    seen.admit(later, later.to_bytes([SIGNER]), where="here")


def test_broken_memory_is_not_taken_for_none(tmp_path: Path) -> None:
    seen = SeenRecords(tmp_path, "https://registry.example/")
    seen.admit(FIRST, FIRST.to_bytes([SIGNER]), where="here")
    (path,) = tmp_path.glob("*.json")
    path.write_text("{}")
    with pytest.raises(TrustError, match=r"\.json: expected .* delete"):
        seen.admit(FIRST, FIRST.to_bytes([SIGNER]), where="here")
