"""Moving channels: promote, roll back, refresh."""

from dataclasses import dataclass

from ptefoundry.errors import ConflictError, RegistryError, TrustError
from ptefoundry.registry.channel_list import note_channel
from ptefoundry.registry.channel_rules import (
    NEVER,
    check_follows,
    check_writer,
    inherited_span,
    is_signed_by,
    rollback_target,
    warn_follows,
)
from ptefoundry.registry.channels import Channel, StoredRecord
from ptefoundry.registry.documents import Clock, format_time
from ptefoundry.registry.refs import VersionRef, find_ref
from ptefoundry.registry.signed_version import check_version_signed
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
    """Seconds until clients must not believe the record any more, `NEVER` for always;
    None: as many as the record before was made for."""
    adopt: int | None = None
    """Number of the newest record, to follow it though the trust policy does not accept it."""


def check_move(channel: Channel, move: Move) -> None:
    """Refuse a move that would make clients refuse the channel; each move does this itself.

    Raises:
        TrustError: keys or expiry are lacking, or nobody who is trusted made the newest
            record.
    """
    _decide(channel, channel.unverified.newest(), move)


def _decide(channel: Channel, newest: StoredRecord | None, move: Move) -> float | None:
    """Seconds that a record after the newest is to be valid, None if it is not to expire."""
    now = move.clock()
    valid_s = move.valid_s
    if valid_s is None:
        valid_s = inherited_span(channel, newest, now=now)
    check_writer(channel, newest, valid_s=valid_s, now=now)
    check_follows(channel, newest, adopt=move.adopt, now=now)
    return None if valid_s == NEVER else valid_s


def promote(store: Store, channel: Channel, version: str, move: Move) -> ChannelRecord:
    """Let a channel name a version; one that it names already is named anew, to refresh it.

    Raises:
        RegistryError: there is no such version, or it was yanked or removed.
        TrustError: clients would refuse the channel.
        ConflictError: others move the channel all the time, or yanked the version meanwhile.
    """
    newest = channel.unverified.newest()
    is_same = newest is not None and newest.record.version == version
    return _move(store, channel, version, move, action="refresh" if is_same else "promote")


def follow_push(store: Store, channel: Channel, version: str, move: Move) -> ChannelRecord:
    """Let a channel name a version that was pushed.

    Nothing happens if it does already, for ever, and with all the signatures that a new
    record would have.

    Raises:
        RegistryError: the version was yanked or removed.
        TrustError: clients would refuse the channel.
        ConflictError: others move the channel all the time, or yanked the version meanwhile.
    """
    newest = channel.unverified.newest()
    valid_s = _decide(channel, newest, move)
    if (
        newest is not None
        and newest.record.version == version
        and (newest.record.expires, valid_s) == (None, None)
        and is_signed_by(newest, channel.signers)
    ):
        check_usable(store, channel.name, version)
        channel.point_to(newest)
        note_channel(store, channel.reference)
        return newest.record
    return _move(store, channel, version, move, action="push")


def roll_back(
    store: Store, channel: Channel, move: Move, *, to: str | None = None
) -> ChannelRecord:
    """Let a channel name the version that it named before.

    Records that the trust policy does not accept are not gone back to.

    Args:
        store: the registry's.
        channel: to roll back.
        move: who does it and why.
        to: another version of its history; None: the one before the present one.

    Raises:
        RegistryError: there is no such channel or version, or it was yanked or removed.
        TrustError: clients would refuse the channel.
        ConflictError: the channel was moved meanwhile, or the version was yanked.
    """
    records = list(channel.unverified.history())
    if not records:
        raise RegistryError(
            f"{channel.where}: expected a channel, found none; `ptefoundry ls` lists what there is"
        )
    _decide(channel, records[0], move)
    accepted = [stored for stored in records if channel.refusal(stored) is None]
    if to is not None and to not in {stored.record.version for stored in accepted}:
        raise RegistryError(
            f"{channel.where}: expected a version that it has named before, found {to}; "
            "`ptefoundry log` lists them, and `promote` takes any"
        )
    present = records[0].record.version
    version = to or rollback_target(accepted, present=present, where=channel.where)
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
    newest = channel.unverified.newest()
    valid_s = _decide(channel, newest, move)
    ref = find_ref(store, channel.name, version)
    _check_ref(store, channel, ref, newest, now=move.clock())
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
        expires=format_time(now + valid_s) if valid_s is not None else None,
        by=move.by,
        reason=move.reason,
        action=action,
    )

    def check(last: StoredRecord | None) -> None:
        check_follows(channel, last, adopt=move.adopt, now=now)
        warn_follows(channel, last, now=now)
        check_usable(store, channel.name, version)

    moved = channel.move(record, after=after, check=check)
    note_channel(store, channel.reference)
    _check_not_yanked(store, channel, moved)
    return moved


def _check_ref(
    store: Store, channel: Channel, ref: VersionRef, newest: StoredRecord | None, *, now: float
) -> None:
    """Refuse to sign what `refs/` alone says, which nobody signs.

    A channel's clients go by the digest in its record.
    """
    if channel.policy is not None and ref.removed is None:
        try:
            check_version_signed(store, ref, policy=channel.policy, now=now)
        except TrustError as error:
            raise TrustError(
                f"{error}; clients would refuse it: sign it by pushing the same bundle again with "
                "--key, then move the channel"
            ) from error
    if newest is None or channel.refusal(newest) is not None:
        return
    record = newest.record
    if record.version == ref.version and record.digest != ref.digest:
        raise RegistryError(
            f"{channel.where}: expected {ref} to be {record.digest}, as number {record.number} "
            f"says, found {ref.digest}: versions never change, so somebody altered the registry"
        )


def _check_not_yanked(store: Store, channel: Channel, moved: ChannelRecord) -> None:
    """Whoever yanks looks at channels afterwards, so that one of the two notices."""
    try:
        check_usable(store, channel.name, moved.version)
    except RegistryError as error:
        raise ConflictError(
            f"{channel.where}: number {moved.number} names {moved.version} now, which was given up "
            f"meanwhile: {error}, with `ptefoundry rollback` or `promote`"
        ) from error
