"""Moving channels: promote, roll back, refresh."""

from dataclasses import dataclass

from ptefoundry.errors import RegistryError
from ptefoundry.registry.channels import Channel, StoredRecord, rollback_target
from ptefoundry.registry.documents import Clock, format_time
from ptefoundry.registry.refs import find_ref
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.trust.channel_envelope import ChannelRecord
from ptefoundry.registry.yanks import check_usable


@dataclass(frozen=True, kw_only=True)
class Move:
    """Who moves a channel, when and why."""

    by: str
    reason: str
    clock: Clock
    """Seconds since 1970."""
    valid_s: float | None = None
    """Seconds until clients must not believe the record any more; None: never."""


def check_move(channel: Channel, move: Move) -> None:
    """Refuse a move that would make clients refuse the channel; each move does this itself.

    Raises:
        TrustError: keys or expiry are lacking.
    """
    channel.check_writer(expires=move.valid_s is not None, now=move.clock())


def promote(store: Store, channel: Channel, version: str, move: Move) -> ChannelRecord:
    """Let a channel name a version; one that it names already is named anew, to refresh it.

    Raises:
        RegistryError: there is no such version, or it was yanked or removed.
        TrustError: clients would refuse the channel.
        ConflictError: others move the channel all the time.
    """
    newest = channel.newest()
    is_same = newest is not None and newest.record.version == version
    return _move(store, channel, version, move, action="refresh" if is_same else "promote")


def follow_push(store: Store, channel: Channel, version: str, move: Move) -> ChannelRecord:
    """Let a channel name a version that was pushed; nothing happens if it does already.

    Raises:
        RegistryError: the version was yanked or removed.
        TrustError: clients would refuse the channel.
        ConflictError: others move the channel all the time.
    """
    newest = channel.newest()
    if newest is not None and newest.record.version == version and newest.record.expires is None:
        channel.point_to(newest)
        return newest.record
    return _move(store, channel, version, move, action="push")


def roll_back(
    store: Store, channel: Channel, move: Move, *, to: str | None = None
) -> ChannelRecord:
    """Let a channel name the version that it named before.

    Args:
        store: the registry's.
        channel: to roll back.
        move: who does it and why.
        to: another version of its history; None: the one before the present one.

    Raises:
        RegistryError: there is no such channel or version, or it was yanked or removed.
        TrustError: clients would refuse the channel.
        ConflictError: the channel was moved meanwhile.
    """
    records = list(channel.history())
    if not records:
        raise RegistryError(
            f"{store.url}: {channel}: expected a channel, found none; `ptefoundry ls` lists what "
            "there is"
        )
    if to is not None and to not in {stored.record.version for stored in records}:
        raise RegistryError(
            f"{store.url}: {channel}: expected a version that it has named before, found {to}; "
            "`ptefoundry log` lists them, and `promote` takes any"
        )
    version = (
        to if to is not None else rollback_target(iter(records), where=f"{store.url}: {channel}")
    )
    return _move(store, channel, version, move, action="rollback", after=records[0])


def _move(
    store: Store,
    channel: Channel,
    version: str,
    move: Move,
    *,
    action: str,
    after: StoredRecord | None = None,
) -> ChannelRecord:
    check_move(channel, move)
    ref = find_ref(store, channel.name, version)
    now = move.clock()
    record = ChannelRecord(
        name=channel.name,
        channel=channel.channel,
        number=1,
        version=version,
        digest=ref.digest,
        size=ref.size,
        previous=None,
        time=format_time(now),
        expires=format_time(now + move.valid_s) if move.valid_s is not None else None,
        by=move.by,
        reason=move.reason,
        action=action,
    )
    return channel.move(
        record, after=after, check=lambda: check_usable(store, channel.name, version)
    )
