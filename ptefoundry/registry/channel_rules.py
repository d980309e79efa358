"""What a writer may put at the end of a channel's history.

A record names the one before it, so whoever signs a record vouches for those before it
and for their numbers. What somebody without a key put at the end is therefore followed
only by who names its number.
"""

import logging
import math
from collections.abc import Iterable, Sequence

from ptefoundry.errors import RegistryError, TrustError
from ptefoundry.registry.channels import Channel, StoredRecord
from ptefoundry.registry.trust.channel_envelope import PAYLOAD_TYPE
from ptefoundry.registry.trust.dsse import sign_payload, verify_envelope
from ptefoundry.registry.trust.keys import Signer

NEVER = math.inf
"""Seconds after which a record expires that is to be believed for ever."""
_HOW_TO_SIGN = "name one with --key or PTEFOUNDRY_SIGNING_KEY"
_HOW_TO_EXPIRE = "say --valid, for instance --valid 7d"
_log = logging.getLogger("ptefoundry")


def check_follows(
    channel: Channel, newest: StoredRecord | None, *, adopt: int | None, now: float
) -> None:
    """Refuse to follow a record that the policy does not accept, unless that was asked for.

    Clients go by the greatest number: after a record with the last number, which needs
    no key to be put there, no other could ever follow.

    Args:
        channel: with the writer's policy; without one everything is followed.
        newest: of the channel's history, None if there is none.
        adopt: number of the record that may be followed all the same.
        now: seconds since 1970, when a key must count.

    Raises:
        TrustError: the record is not accepted.
        RegistryError: it is to be adopted, and the history behind it is broken.
    """
    if newest is None or (refusal := channel.refusal(newest, now=now)) is None:
        return
    if adopt != newest.record.number:
        raise TrustError(
            f"{refusal}; the newest record is {newest}: look at `ptefoundry log`, and if you know "
            f"it, as after a change of keys, go on from it with --adopt {newest.record.number}"
        )
    for _ in channel.unverified.history():
        pass  # Reading it checks its links.


def warn_follows(channel: Channel, newest: StoredRecord | None, *, now: float) -> None:
    """Say what a signed record is to follow, if nobody vouches for it."""
    if newest is None or not channel.signers:
        return
    if channel.policy is None:
        is_known = any(is_signed_by(newest, [signer]) for signer in channel.signers)
    else:
        is_known = channel.refusal(newest, now=now) is None
    if not is_known:
        _log.warning("%s: follows %s, which no key that is trusted here signed", channel, newest)


def check_writer(
    channel: Channel, newest: StoredRecord | None, *, valid_s: float | None, now: float
) -> None:
    """Refuse to append what clients would refuse, as they would refuse the channel with it.

    Args:
        channel: with the writer's keys and policy.
        newest: of the channel's history, None if there is none.
        valid_s: seconds until the record is to expire, `NEVER`, or None if nobody said.
        now: seconds since 1970.

    Raises:
        TrustError: no key that the policy demands signs it, or it must expire; without
            a policy: none signs it, though the record before is signed.
    """
    if channel.policy is None:
        if not channel.signers and newest is not None and newest.envelope.signatures:
            raise TrustError(
                f"{channel.where}: expected a key to sign with, as the record before is signed, "
                f"found none; {_HOW_TO_SIGN}"
            )
        if channel.signers and valid_s is None:
            raise TrustError(
                f"{channel.where}: expected a time until which the signed record is valid, as "
                "whoever stands between could show it to clients for ever, found none; "
                f"{_HOW_TO_EXPIRE} (--valid never if that is meant)"
            )
        return
    empty = sign_payload(b"{}", PAYLOAD_TYPE, channel.signers)
    try:
        channel.policy.verify_at(
            empty, PAYLOAD_TYPE, name=channel.name, at=now, where=channel.where
        )
    except TrustError as error:
        raise TrustError(f"{error}; {_HOW_TO_SIGN}") from error
    if channel.policy.require_expiry and valid_s in (None, NEVER):
        raise TrustError(
            f"{channel.where}: expected a time until which the record is valid, as the trust "
            f"policy demands one, found none; {_HOW_TO_EXPIRE}"
        )


def inherited_span(channel: Channel, newest: StoredRecord | None, *, now: float) -> float | None:
    """Seconds that the newest record was made to be valid, None if it says nothing.

    What the policy does not accept has no say.
    """
    if newest is None or channel.refusal(newest, now=now) is not None:
        return None
    return newest.record.valid_s


def is_signed_by(stored: StoredRecord, signers: Sequence[Signer]) -> bool:
    """Whether each of the keys has signed a record."""
    envelope = stored.envelope
    try:
        for signer in signers:
            verify_envelope(envelope, PAYLOAD_TYPE, [signer.public], where="")
    except TrustError:
        return False
    return True


def rollback_target(records: Iterable[StoredRecord], *, present: str, where: str) -> str:
    """The version that was in effect before the present one; rollbacks undo what they undid.

    Args:
        records: of a channel's history those that may be gone back to, the newest first.
        present: the version that the channel names now.
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
    while in_effect and in_effect[-1] == present:
        in_effect.pop()
    if not in_effect:
        raise RegistryError(
            f"{where}: expected a version before the present one, found none to go back to; "
            "`ptefoundry promote` names any, and where there is no other `ptefoundry yank "
            f"NAME@{present} --reason ... --force` withdraws it"
        )
    return in_effect[-1]
