"""Checking channels: histories without gaps, pointers to their end, versions that exist."""

from collections.abc import Iterable, Mapping
from itertools import pairwise

from ptefoundry.errors import ConfigError, RegistryError
from ptefoundry.registry.channel_list import read_channel_list
from ptefoundry.registry.channels import Channel, StoredRecord
from ptefoundry.registry.findings import Finding
from ptefoundry.registry.names import (
    Reference,
    channel_key,
    check_channel,
    check_name,
    record_key,
)
from ptefoundry.registry.refs import VersionRef
from ptefoundry.registry.store.interface import Store

_RESTORE = "restore it from a backup or another registry; promoting a version begins anew after it"


def check_channels(
    store: Store,
    channels: Mapping[tuple[str, str], list[int]],
    versions: Mapping[tuple[str, str], VersionRef],
    *,
    repair: bool,
) -> list[Finding]:
    """Check all channels; signatures are for `verify` to check.

    Args:
        store: the registry's.
        channels: numbers of the records of each name and channel.
        versions: all versions, removed ones too, by name and version.
        repair: move pointers on that are behind.
    """
    found = []
    for (name, channel), numbers in sorted(channels.items()):
        key = channel_key(name, channel)
        try:
            checked = Channel(store, check_name(name), check_channel(channel))
            found += _find_gaps(name, channel, numbers)
            found += _check_channel(checked, versions, repair=repair)
        except (RegistryError, ConfigError) as error:
            found.append(Finding(kind="malformed", key=key, problem=str(error), remedy=_RESTORE))
    return found


def compare_list(store: Store, channels: Iterable[tuple[str, str]]) -> str | None:
    """What is wrong with `channels.json`; None if nothing is.

    Args:
        store: the registry's.
        channels: names and channels that were found, malformed ones too.
    """
    try:
        listed = read_channel_list(store)
    except RegistryError as error:
        return str(error)
    if listed is None:
        return "expected the list of channels, found none: this registry was written before it"
    present = {f"{name}:{channel}" for name, channel in channels}
    unlisted = present - {str(reference) for reference in listed}
    gone = [one for one in listed if str(one) not in present and _is_gone(store, one)]
    wrong = sorted({*unlisted, *map(str, gone)})
    if not wrong:
        return None
    return f"expected exactly the channels, found differences in {', '.join(wrong[:5])}"


def _is_gone(store: Store, reference: Reference) -> bool:
    """Asked once more, as the channel may have been made since the registry was listed."""
    assert reference.channel is not None
    return store.head(record_key(reference.name, reference.channel, 1)) is None


def _find_gaps(name: str, channel: str, numbers: list[int]) -> list[Finding]:
    return [
        Finding(
            kind="history",
            key=record_key(name, channel, before + 1),
            problem=f"expected records without gaps, found number {after} after {before}",
            remedy=_RESTORE,
        )
        for before, after in pairwise([0, *sorted(numbers)])
        if after != before + 1
    ]


def _check_channel(
    channel: Channel,
    versions: Mapping[tuple[str, str], VersionRef],
    *,
    repair: bool,
) -> list[Finding]:
    history = list(channel.history())
    key = channel_key(channel.name, channel.channel)
    found = []
    if history and channel.pointer() != history[0]:
        if repair:
            channel.point_to(history[0])
        found.append(
            Finding(
                kind="pointer",
                key=key,
                problem=f"expected the record number {history[0].record.number}, the newest, "
                "found an older one or none",
                remedy="run `ptefoundry fsck --repair`, which moves it on",
                repaired=repair,
            )
        )
    if history and (problem := _version_problem(history[0], versions)):
        remedy = "promote another version"
        found.append(Finding(kind="channel", key=key, problem=problem, remedy=remedy))
    return found


def _version_problem(
    stored: StoredRecord, versions: Mapping[tuple[str, str], VersionRef]
) -> str | None:
    record = stored.record
    ref = versions.get((record.name, record.version))
    if ref is None:
        return f"expected it to name a version, found {record.version}, which does not exist"
    if ref.digest != record.digest:
        return f"expected {ref.digest}, the content of {ref}, found {record.digest}"
    if ref.removed is not None:
        return f"expected it to name a version, found {ref}, which was removed on {ref.removed}"
    return None
