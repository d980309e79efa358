"""Channels: names such as `stable` that move from version to version, with their history.

A channel's truth is its history: records that are created once, under numbers
without gaps, so that of two writers exactly one gets a number. The pointer, which is
what clients read, is a copy of the newest record and follows it; whoever writes next
moves a pointer on that was left behind.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ptefoundry.digest import hash_bytes
from ptefoundry.errors import (
    ConfigError,
    ConflictError,
    ObjectExistsError,
    ObjectMissingError,
    RegistryError,
    TrustError,
)
from ptefoundry.registry.documents import DOCUMENT_LIMIT, replace_document
from ptefoundry.registry.names import (
    CHANNELS,
    Reference,
    channel_key,
    check_channel,
    check_name,
    record_key,
)
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.trust.channel_envelope import (
    PAYLOAD_TYPE,
    RECORD_LIMIT,
    ChannelRecord,
    parse_record,
)
from ptefoundry.registry.trust.dsse import read_envelope, sign_payload
from ptefoundry.registry.trust.keys import Signer
from ptefoundry.registry.trust.policy import TrustPolicy

_TRIES = 50
_LARGEST_GAP = 1000
_HOW_TO_SIGN = "name one with --key or PTEFOUNDRY_SIGNING_KEY"


@dataclass(frozen=True)
class StoredRecord:
    """A record and its bytes in the store."""

    record: ChannelRecord
    data: bytes

    @property
    def is_signed(self) -> bool:
        """Whether anybody has signed it, trusted or not."""
        where = f"{self.record.name}:{self.record.channel}"
        return bool(read_envelope(self.data, limit=RECORD_LIMIT, where=where).signatures)


class Channel:
    """One channel of a registry."""

    def __init__(
        self,
        store: Store,
        name: str,
        channel: str,
        *,
        signers: Sequence[Signer] = (),
        policy: TrustPolicy | None = None,
    ) -> None:
        """Name a channel; it need not exist.

        Args:
            store: the registry's.
            name: of the bundle.
            channel: of the channel.
            signers: sign what is appended.
            policy: who must have signed what is read; None: signatures are not looked at.
        """
        self.name, self.channel = name, channel
        self._store, self._signers, self._policy = store, signers, policy

    def __str__(self) -> str:
        return f"{self.name}:{self.channel}"

    def pointer(self) -> StoredRecord | None:
        """What the pointer holds, as clients see it; None if there is no such channel.

        Raises:
            RegistryError: it is malformed.
            TrustError: it is not signed as it must be.
        """
        return self._read(channel_key(self.name, self.channel))

    def newest(self) -> StoredRecord | None:
        """The newest record of the history, None if there is no such channel.

        Raises:
            RegistryError: pointer or history are malformed.
            TrustError: a record is not signed as it must be.
        """
        found = self.pointer()
        number = found.record.number if found else 0
        for _ in range(_LARGEST_GAP):
            following = self._record(number + 1)
            if following is None:
                return found
            found, number = following, number + 1
        raise RegistryError(
            f"{self._store.url}: {self}: expected a pointer to the newest record, found one to "
            f"number {number - _LARGEST_GAP}; run `ptefoundry fsck --repair`"
        )

    def history(self) -> Iterator[StoredRecord]:
        """All records, the newest first; each is the one that the later one names.

        Raises:
            RegistryError: one is missing, malformed or altered.
        """
        later = self.newest()
        while later is not None:
            yield later
            if later.record.number == 1:
                return
            earlier = self._record(later.record.number - 1)
            if earlier is None or f"sha256:{hash_bytes(earlier.data)}" != later.record.previous:
                key = record_key(self.name, self.channel, later.record.number - 1)
                raise RegistryError(
                    f"{self._store.url}{key}: expected the record {later.record.previous} that "
                    "the one after it names, found another or none; the history was altered"
                )
            later = earlier

    def check_writer(self, *, expires: bool, now: float) -> None:
        """Refuse to append what clients would refuse, as they would refuse the channel with it.

        Args:
            expires: whether the record is to expire.
            now: seconds since 1970.

        Raises:
            TrustError: no key that the policy demands signs it, or it must expire; without
                a policy: none signs it, though the record before is signed.
        """
        where = f"{self._store.url}: {self}"
        if self._policy is None:
            newest = None if self._signers else self.newest()
            if newest is not None and newest.is_signed:
                raise TrustError(
                    f"{where}: expected a key to sign with, as the record before is signed, found "
                    f"none; {_HOW_TO_SIGN}"
                )
            return
        empty = sign_payload(b"{}", PAYLOAD_TYPE, self._signers)
        try:
            self._policy.verify_at(empty, PAYLOAD_TYPE, name=self.name, at=now, where=where)
        except TrustError as error:
            raise TrustError(f"{error}; {_HOW_TO_SIGN}") from error
        if self._policy.require_expiry and not expires:
            raise TrustError(
                f"{where}: expected a time until which the record is valid, as the trust policy "
                "demands one, found none; say --valid, for instance --valid 7d"
            )

    def move(
        self,
        record: ChannelRecord,
        *,
        after: StoredRecord | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> ChannelRecord:
        """Put a record at the end of the history and let the pointer follow.

        Args:
            record: what to append; its number and `previous` are filled in.
            after: the newest record that the caller has decided upon; None to append
                whatever the newest is.
            check: raises if the version must not be named; called right before it is, so
                that it cannot have been collected as garbage by then.

        Raises:
            ConflictError: others have moved the channel since, or do so all the time.
        """
        for _ in range(_TRIES):
            newest = self.newest()
            if after is not None and newest != after:
                raise self._moved(newest)
            appended = replace(
                record,
                number=newest.record.number + 1 if newest else 1,
                previous=f"sha256:{hash_bytes(newest.data)}" if newest else None,
            )
            data = appended.to_bytes(self._signers)
            check()
            try:
                self._store.create(record_key(self.name, self.channel, appended.number), data)
            except ObjectExistsError:
                continue
            self.point_to(StoredRecord(appended, data))
            return appended
        raise ConflictError(
            f"{self._store.url}: {self}: others moved it {_TRIES} times meanwhile; try again later"
        )

    def point_to(self, stored: StoredRecord) -> None:
        """Let the pointer follow to a record, unless it is there or further already."""

        def follow(data: bytes | None) -> bytes:
            if data is not None and self._decode(data, key).record.number >= stored.record.number:
                return data
            return stored.data

        key = channel_key(self.name, self.channel)
        replace_document(self._store, key, follow)

    def _moved(self, newest: StoredRecord | None) -> ConflictError:
        found = f"number {newest.record.number}, {newest.record.version}" if newest else "none"
        return ConflictError(
            f"{self._store.url}: {self}: expected nobody to move it meanwhile, found {found}; look "
            "at `ptefoundry log` and decide again"
        )

    def _record(self, number: int) -> StoredRecord | None:
        key = record_key(self.name, self.channel, number)
        found = self._read(key)
        if found is not None and found.record.number != number:
            raise RegistryError(
                f"{self._store.url}{key}: number: expected {number}, found {found.record.number}"
            )
        return found

    def _read(self, key: str) -> StoredRecord | None:
        try:
            data, _ = self._store.read(key, limit=DOCUMENT_LIMIT)
        except ObjectMissingError:
            return None
        return self._decode(data, key)

    def _decode(self, data: bytes, key: str) -> StoredRecord:
        record = parse_record(
            data,
            name=self.name,
            channel=self.channel,
            policy=self._policy,
            where=f"{self._store.url}{key}",
        )
        return StoredRecord(record, data)


def list_channels(store: Store, name: str | None = None) -> list[Reference]:
    """All channels of a name or of all names, in order.

    Raises:
        StoreError: the store cannot list.
        RegistryError: there is something else among them.
    """
    prefix = f"{CHANNELS}{check_name(name)}/" if name is not None else CHANNELS
    found = set()
    for info in store.list(prefix):
        parts = info.key.removeprefix(CHANNELS).removesuffix(".json").split("/")
        try:
            reference = Reference(check_name(parts[0]), channel=check_channel("".join(parts[1:2])))
        except ConfigError as error:
            raise RegistryError(f"{store.url}{info.key}: {error}; remove it") from error
        found.add(reference)
    return sorted(found, key=str)


def rollback_target(records: Iterator[StoredRecord], *, where: str) -> str:
    """The version that was in effect before the present one; rollbacks undo what they undid.

    Args:
        records: a channel's history, the newest first.
        where: names the channel in errors.

    Raises:
        RegistryError: there was none before.
    """
    in_effect: list[str] = []
    for stored in reversed(list(records)):
        record = stored.record
        if record.action == "rollback" and record.version in in_effect:
            while in_effect[-1] != record.version:
                in_effect.pop()
        elif not in_effect or in_effect[-1] != record.version:
            in_effect.append(record.version)
    if len(in_effect) < 2:
        raise RegistryError(
            f"{where}: expected a version before the present one, found none to go back to; "
            "`ptefoundry promote` names any"
        )
    return in_effect[-2]
