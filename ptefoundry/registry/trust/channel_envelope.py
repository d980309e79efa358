"""Records of a channel: which version it names, signed, numbered and expiring.

A record is a DSSE envelope in canonical JSON. docs/trust.md says against which attacks
its parts are; `seen` remembers the numbers.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ptefoundry.digest import canonical_json
from ptefoundry.errors import ConfigError, RegistryError, TrustError
from ptefoundry.registry.documents import FORMAT_VERSION, parse_time, read_fields
from ptefoundry.registry.names import check_channel, check_name, check_version
from ptefoundry.registry.trust.dsse import Envelope, read_envelope, sign_payload
from ptefoundry.registry.trust.keys import Signer
from ptefoundry.registry.trust.policy import TrustPolicy

PAYLOAD_TYPE = "application/vnd.ptefoundry.channel.v1+json"
RECORD_LIMIT = 64 << 10
"""Bytes that a record may have."""
LAST_NUMBER = 99_999_999
"""Records that a channel can have: keys have eight digits."""
ACTIONS = ("push", "promote", "rollback", "refresh")


@dataclass(frozen=True, kw_only=True)
class ChannelRecord:
    """A step in a channel's history."""

    name: str
    channel: str
    number: int
    """Begins with 1 and grows by 1."""
    version: str
    digest: str
    """Of the version's index, `sha256:<hex>`."""
    size: int
    """Bytes of the index."""
    previous: str | None
    """Digest of the previous record's bytes, None for the first."""
    time: str
    """When it was made, RFC 3339."""
    expires: str | None
    """From when on it is not to be believed, RFC 3339; None: never."""
    by: str
    reason: str
    action: str
    """One of ACTIONS."""

    @property
    def valid_s(self) -> float | None:
        """Seconds from when it was made until it expires; None if it never does."""
        if self.expires is None:
            return None
        where = f"{self.name}:{self.channel}: number {self.number}"
        return parse_time(self.expires, where=where) - parse_time(self.time, where=where)

    def to_bytes(self, signers: Sequence[Signer] = ()) -> bytes:
        """The record in its envelope; without signers it is not signed.

        Raises:
            RegistryError: a field is not what `parse_record` would take.
        """
        payload = canonical_json({"format": FORMAT_VERSION, **asdict(self)})
        _read_payload(payload, where=f"{self.name}:{self.channel}")
        return sign_payload(payload, PAYLOAD_TYPE, signers).to_bytes()


def parse_record(
    data: bytes,
    *,
    name: str,
    channel: str,
    policy: TrustPolicy | None,
    where: str,
) -> ChannelRecord:
    """Read a record: first its signature, then what it says, then whether that was asked for.

    Its key must have counted when it was made, so that the history stays readable when
    keys change. Whether a record may be acted upon is for `check_current` and
    `SeenRecords` to say.

    Args:
        data: the record's bytes.
        name: of the bundle that was asked for.
        channel: that was asked for.
        policy: who may sign; None: signatures are not looked at.
        where: names the record in errors.

    Raises:
        TrustError: no trusted key has signed it, or it is of another bundle or channel.
        RegistryError: it is malformed.
    """
    envelope = read_envelope(data, limit=RECORD_LIMIT, where=where)
    if envelope.to_bytes() != data:
        raise RegistryError(f"{where}: expected canonical JSON, found it written in another way")
    _verify(envelope, policy, name, None, where)
    record = _read_payload(envelope.payload, where=where)
    if (record.name, record.channel) != (name, channel):
        raise TrustError(
            f"{where}: expected a record of {name}:{channel}, found one of "
            f"{record.name}:{record.channel}"
        )
    _verify(envelope, policy, name, parse_time(record.time, where=where), where)
    return record


def check_signers(data: bytes, *, policy: TrustPolicy, name: str, at: float, where: str) -> None:
    """Refuse a record that no key has signed which counts at a time.

    Args:
        data: the record's bytes.
        policy: who may sign.
        name: of the bundle.
        at: seconds since 1970.
        where: names the record in errors.

    Raises:
        TrustError: none has.
    """
    _verify(read_envelope(data, limit=RECORD_LIMIT, where=where), policy, name, at, where)


def check_current(
    record: ChannelRecord, data: bytes, *, policy: TrustPolicy | None, now: float, where: str
) -> None:
    """Refuse a record that has expired; under a policy also one that never does.

    Its key must count now as well: an old one could have dated the record back.

    Args:
        record: what the channel's pointer holds.
        data: its bytes.
        policy: what the client demands.
        now: seconds since 1970.
        where: names the record in errors.

    Raises:
        TrustError: it is not to be believed any more.
    """
    _verify(read_envelope(data, limit=RECORD_LIMIT, where=where), policy, record.name, now, where)
    if record.expires is None:
        if policy is not None and policy.require_expiry:
            raise TrustError(
                f"{where}: expires: expected a time, found none, so an old record could be shown "
                "for ever; make a new one that expires, or set require_expiry: false in the trust "
                "policy"
            )
    elif now >= parse_time(record.expires, where=f"{where}: expires"):
        raise TrustError(
            f"{where}: expected a record that is still valid, found number {record.number}, which "
            f"expired on {record.expires}: the channel was not refreshed, somebody holds newer "
            "records back, or this machine's clock is wrong"
        )


def _verify(
    envelope: Envelope, policy: TrustPolicy | None, name: str, at: float | None, where: str
) -> None:
    """Verify the signature, by a key that counts at that time, None: whenever."""
    if envelope.payload_type != PAYLOAD_TYPE:
        raise RegistryError(
            f"{where}: payloadType: expected {PAYLOAD_TYPE}, found {envelope.payload_type!r:.80}"
        )
    if policy is not None and at is None:
        policy.verify(envelope, PAYLOAD_TYPE, name=name, where=where)
    elif policy is not None and at is not None:
        policy.verify_at(envelope, PAYLOAD_TYPE, name=name, at=at, where=where)


def _read_payload(payload: bytes, *, where: str) -> ChannelRecord:
    fields = read_fields(payload, where=where)
    record = ChannelRecord(
        name=fields.text("name"),
        channel=fields.text("channel"),
        number=fields.count("number"),
        version=fields.text("version"),
        digest=fields.digest("digest"),
        size=fields.count("size"),
        previous=fields.optional_digest("previous"),
        time=fields.time("time"),
        expires=fields.optional_time("expires"),
        by=fields.text("by"),
        reason=fields.text("reason"),
        action=fields.text("action"),
    )
    _check(record, where)
    return record


def _check(record: ChannelRecord, where: str) -> None:
    try:
        check_name(record.name)
        check_channel(record.channel)
        check_version(record.version)
    except ConfigError as error:
        raise RegistryError(f"{where}: {error}") from error
    if not 1 <= record.number <= LAST_NUMBER:
        raise RegistryError(
            f"{where}: number: expected 1 to {LAST_NUMBER}, found {record.number!r:.80}"
        )
    if (record.previous is None) != (record.number == 1):
        raise RegistryError(
            f"{where}: previous: expected a digest in all records but the first, found "
            f"{record.previous} in number {record.number}"
        )
    if record.action not in ACTIONS:
        raise RegistryError(
            f"{where}: action: expected one of {', '.join(ACTIONS)}, found {record.action!r:.80}"
        )
