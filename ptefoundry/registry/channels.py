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
    RECORD_LIMIT,
    ChannelRecord,
    check_signers,
    parse_record,
)
from ptefoundry.registry.trust.dsse import Envelope, read_envelope
from ptefoundry.registry.trust.keys import Signer
from ptefoundry.registry.trust.policy import TrustPolicy

_TRIES = 50
_LARGEST_GAP = 1000


@dataclass(frozen=True)
class StoredRecord:
    """A record and its bytes in the store."""

    record: ChannelRecord
    data: bytes

    def __str__(self) -> str:
        record, signatures = self.record, self.envelope.signatures
        keys = ", ".join(signature.keyid[:16] for signature in signatures) or "nobody"
        return (
            f"number {record.number} ({record.action} of {record.version} by {record.by!r} on "
            f"{record.time}, signed by {keys})"
        )

    @property
    def envelope(self) -> Envelope:
        """Its signatures, which nobody has verified, and what they are of."""
        where = f"{self.record.name}:{self.record.channel}"
        return read_envelope(self.data, limit=RECORD_LIMIT, where=where)


class Channel:
    """One channel of a registry.

    Who follows it verifies what it reads. Who moves it or shows its history reads it
    `unverified`, with the links between records checked but not who signed them, and
    asks `refusal` of each record: keys change, and the history stays.
    """

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
        self.signers, self.policy = signers, policy
        self._store = store

    def __str__(self) -> str:
        return f"{self.name}:{self.channel}"

    @property
    def reference(self) -> Reference:
        """What people write for it."""
        return Reference(self.name, channel=self.channel)

    @property
    def where(self) -> str:
        """Names it in messages."""
        return f"{self._store.url}: {self}"

    @property
    def unverified(self) -> "Channel":
        """The same channel without a policy."""
        return Channel(self._store, self.name, self.channel, signers=self.signers)

    def refusal(self, stored: StoredRecord, *, now: float | None = None) -> str | None:
        """Why the policy does not accept a record of the channel; None if it does, or is none.

        Args:
            stored: of this channel.
            now: seconds since 1970 when its key must count; None: when the record was made.
        """
        if self.policy is None:
            return None
        where = f"{self.where}: number {stored.record.number}"
        try:
            self._parse(stored.data, where=where)
            if now is not None:
                check_signers(stored.data, policy=self.policy, name=self.name, at=now, where=where)
        except TrustError as error:
            return str(error)
        return None

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
            f"{self.where}: expected a pointer to the newest record, found one to "
            f"number {number - _LARGEST_GAP}; run `ptefoundry fsck --repair`"
        )

    def history(self) -> Iterator[StoredRecord]:
        """All records, the newest first; each is the one that the later one names.

        The newest is verified; whoever signed it has signed for those before it, by their
        digests.

        Raises:
            RegistryError: one is missing, malformed or altered.
            TrustError: the newest is not signed as it must be.
        """
        later, chain = self.newest(), self.unverified
        while later is not None:
            yield later
            if later.record.number == 1:
                return
            earlier = chain._record(later.record.number - 1)
            if earlier is None or f"sha256:{hash_bytes(earlier.data)}" != later.record.previous:
                key = record_key(self.name, self.channel, later.record.number - 1)
                raise RegistryError(
                    f"{self._store.url}{key}: expected the record {later.record.previous} that "
                    "the one after it names, found another or none; the history was altered"
                )
            later = earlier

    def move(
        self,
        record: ChannelRecord,
        *,
        after: StoredRecord | None = None,
        check: Callable[[StoredRecord | None], None] = lambda _newest: None,
    ) -> ChannelRecord:
        """Put a record at the end of the history and let the pointer follow.

        Who signed the history is for `check` to look at.

        Args:
            record: what to append; its number and `previous` are filled in.
            after: the newest record that the caller has decided upon; None to append
                whatever the newest is.
            check: raises if the version must not be named, or not after the newest record;
                called right before it is, so that the version cannot have been collected as
                garbage by then.

        Raises:
            ConflictError: others have moved the channel since, or do so all the time.
        """
        chain = self.unverified
        for _ in range(_TRIES):
            newest = chain.newest()
            if after is not None and newest != after:
                raise self._moved(newest)
            appended = replace(
                record,
                number=newest.record.number + 1 if newest else 1,
                previous=f"sha256:{hash_bytes(newest.data)}" if newest else None,
            )
            data = appended.to_bytes(self.signers)
            check(newest)
            try:
                self._store.create(record_key(self.name, self.channel, appended.number), data)
            except ObjectExistsError:
                continue
            self.point_to(StoredRecord(appended, data))
            return appended
        raise ConflictError(
            f"{self.where}: others moved it {_TRIES} times meanwhile; try again later"
        )

    def point_to(self, stored: StoredRecord) -> None:
        """Let the pointer follow to a record, unless it is there or further already."""

        def follow(data: bytes | None) -> bytes:
            if data is not None and chain._decode(data, key).record.number >= stored.record.number:
                return data
            return stored.data

        key, chain = channel_key(self.name, self.channel), self.unverified
        replace_document(self._store, key, follow)

    def _moved(self, newest: StoredRecord | None) -> ConflictError:
        found = f"number {newest.record.number}, {newest.record.version}" if newest else "none"
        return ConflictError(
            f"{self.where}: expected nobody to move it meanwhile, found {found}; look "
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
        return StoredRecord(self._parse(data, where=f"{self._store.url}{key}"), data)

    def _parse(self, data: bytes, *, where: str) -> ChannelRecord:
        return parse_record(
            data, name=self.name, channel=self.channel, policy=self.policy, where=where
        )


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
