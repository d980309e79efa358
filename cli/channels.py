"""`ptefoundry promote`, `rollback` and `log`: moving channels, and who moved them."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from ptefoundry.errors import ConfigError, RegistryError

from .actor import actor
from .durations import parse_duration
from .output import JsonOption, print_json, print_note, print_table
from .registry_access import Access, EndpointOption, KeyOption, TrustOption, open_access
from .registry_arguments import NameArguments, split_arguments

if TYPE_CHECKING:
    from ptefoundry.registry.moves import Move
    from ptefoundry.registry.names import Reference
    from ptefoundry.registry.trust.channel_envelope import ChannelRecord

ReasonOption = Annotated[str, typer.Option(help="Why, for the channel's history.")]
ValidOption = Annotated[
    str | None,
    typer.Option(
        "--valid",
        metavar="DURATION",
        help="How long clients may believe the channel, such as 7d, or never; else as long as "
        "the record before. It must be refreshed before that.",
    ),
]
AdoptOption = Annotated[
    int | None,
    typer.Option(
        "--adopt",
        metavar="NUMBER",
        help="Go on from this record, the newest, though the trust policy does not accept it: "
        "after a change of keys.",
    ),
]


def promote(  # noqa: PLR0913  one parameter for each option
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[REGISTRY] NAME@VERSION CHANNEL", help="What, and whereto."),
    ] = None,
    *,
    reason: ReasonOption = "",
    valid: ValidOption = None,
    adopt: AdoptOption = None,
    key: KeyOption = None,
    trust: TrustOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a channel name a version. Naming it again refreshes a channel that expires."""
    from ptefoundry.registry.moves import promote as move_to
    from ptefoundry.registry.names import Reference, check_channel, parse_reference

    address, (text, channel) = split_arguments(arguments, "name@version", "a channel")
    reference = parse_reference(text)
    if reference.version is None:
        raise ConfigError(f"expected name@version to promote, found {text!r}")
    access = open_access(address, endpoint_url, trust=trust, keys=key)
    target = access.channel(Reference(reference.name, channel=check_channel(channel)))
    record = move_to(access.store, target, reference.version, make_move(reason, valid, adopt))
    _report(record, as_json=as_json)


def rollback(  # noqa: PLR0913  one parameter for each option
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[REGISTRY] NAME:CHANNEL", help="What.")
    ] = None,
    *,
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="One of its older versions.")
    ] = None,
    reason: ReasonOption = "",
    valid: ValidOption = None,
    adopt: AdoptOption = None,
    key: KeyOption = None,
    trust: TrustOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a channel name the version that it named before the present one."""
    from ptefoundry.registry.moves import roll_back
    from ptefoundry.registry.names import check_version, parse_reference

    address, (text,) = split_arguments(arguments, "name:channel")
    reference = parse_reference(text)
    if reference.channel is None:
        raise ConfigError(f"expected name:channel to roll back, found {text!r}")
    version = check_version(to) if to is not None else None
    access = open_access(address, endpoint_url, trust=trust, keys=key)
    move = make_move(reason, valid, adopt)
    record = roll_back(access.store, access.channel(reference), move, to=version)
    _report(record, as_json=as_json)


def log(
    arguments: NameArguments = None,
    *,
    trust: TrustOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who moved which channel when and why, the newest first; all of them or one.

    Records that the trust policy does not accept are marked, and versions that were yanked.
    """
    from ptefoundry.registry.names import parse_reference
    from ptefoundry.registry.yanks import find_yank

    address, given = split_arguments(arguments, "a name or name:channel", optional=True)
    access = open_access(address, endpoint_url, trust=trust)
    reference = parse_reference(given[0]) if given else None
    if reference is not None and reference.version is not None:
        raise ConfigError(f"expected a name or name:channel, found {given[0]!r}")
    if reference is not None and reference.channel is not None:
        channels = [reference]
    else:
        channels = _all_channels(access, reference.name if reference else None)
    steps = [
        (stored.record, opened.refusal(stored))
        for opened in map(access.channel, channels)
        for stored in opened.unverified.history()
    ]
    if not steps:
        what = reference or "a channel"
        print_note(
            f"{access.registry.url}: found no history of {what}; `ptefoundry promote` begins one"
        )
    steps.sort(key=lambda step: (step[0].time, step[0].number), reverse=True)
    yanked = {
        named: find_yank(access.store, *named)
        for named in {(record.name, record.version) for record, _ in steps}
    }
    reasons = {named: found.reason for named, found in yanked.items() if found is not None}
    if as_json:
        print_json(
            [
                _describe(record)
                | {"refusal": refusal, "yanked": reasons.get((record.name, record.version))}
                for record, refusal in steps
            ]
        )
        return
    print_table(
        ("time", "channel", "> number", "action", "version", "by", "reason", "remarks"),
        (
            (
                record.time,
                f"{record.name}:{record.channel}",
                str(record.number),
                record.action,
                record.version,
                record.by,
                record.reason,
                _remarks(refusal, reasons.get((record.name, record.version))),
            )
            for record, refusal in steps
        ),
    )


def _all_channels(access: Access, name: str | None) -> "list[Reference]":
    """Channels of a name or of all names.

    Raises:
        RegistryError: the registry cannot be listed and does not say which there are.
    """
    from ptefoundry.registry.channel_list import find_channels
    from ptefoundry.registry.names import CHANNEL_LIST_KEY

    channels = find_channels(access.store, name)
    if channels is None:
        raise RegistryError(
            f"{access.registry.url}{CHANNEL_LIST_KEY}: expected it to say which channels there "
            "are, found none; name one (name:channel), or have `ptefoundry fsck --repair` list "
            "them, by whoever may write to the registry"
        )
    return channels


def _remarks(refusal: str | None, yanked: str | None) -> str:
    remarks = ["not accepted by the trust policy"] if refusal is not None else []
    return "; ".join([*remarks, f"yanked: {yanked}"] if yanked is not None else remarks)


def make_move(reason: str, valid: str | None, adopt: int | None) -> "Move":
    """Who moves a channel now, and why.

    Raises:
        ConfigError: `valid` is no duration.
    """
    from ptefoundry.registry.channel_rules import NEVER
    from ptefoundry.registry.moves import Move

    valid_s = None
    if valid is not None:
        valid_s = NEVER if valid == "never" else parse_duration(valid, where="--valid")
    return Move(by=actor(), reason=reason, clock=time.time, valid_s=valid_s, adopt=adopt)


def _describe(record: "ChannelRecord") -> dict[str, object]:
    from dataclasses import asdict

    return asdict(record)


def _report(record: "ChannelRecord", *, as_json: bool) -> None:
    if as_json:
        print_json(_describe(record))
        return
    until = f", valid until {record.expires}" if record.expires else ""
    print(f"{record.name}:{record.channel} is {record.version} (number {record.number}{until})")
