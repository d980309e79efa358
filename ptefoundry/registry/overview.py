"""Which versions a registry has, and which channels name them."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from ptefoundry.registry.catalog import read_catalog
from ptefoundry.registry.channel_list import find_channels
from ptefoundry.registry.channels import Channel, StoredRecord
from ptefoundry.registry.names import Reference, version_order
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.refs import VersionRef, find_ref, list_refs
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.trust.policy import TrustPolicy
from ptefoundry.registry.yanks import find_yank

_Named = dict[tuple[str, str], list[str]]
"""Channels by the name and version that they name."""


@dataclass(frozen=True, kw_only=True)
class VersionRow:
    """A version and what is said of it."""

    ref: VersionRef
    channels: tuple[str, ...] | None
    """Channels that name it; None where nobody can say which channels there are."""
    refused: tuple[str, ...] | None
    """Channels that name it in a record which the trust policy does not accept."""
    yanked: str | None
    """Why it should not be used."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self.ref) | {
            "channels": self.channels,
            "refused_channels": self.refused,
            "yanked": self.yanked,
        }


def list_versions(
    store: Store, name: str | None, *, policy: TrustPolicy | None
) -> list[VersionRow]:
    """The versions of a name or of all names, and the channels that name them.

    Raises:
        RegistryError: one of them is malformed.
    """
    channels = find_channels(store, name)
    refs = list_refs(store, name) if store.can_list else _listed_refs(store, name)
    if channels is None:
        return [_row(store, ref, None, None) for ref in refs]
    named: _Named = {}
    refused: _Named = {}
    for channel, newest in for_each(partial(_newest_of, store, policy), channels):
        if newest is not None:
            found = named if channel.refusal(newest) is None else refused
            found.setdefault((channel.name, newest.record.version), []).append(channel.channel)
    return [_row(store, ref, named, refused) for ref in refs]


def _listed_refs(store: Store, name: str | None) -> list[VersionRef]:
    wanted = [one for one, _ in read_catalog(store) if name in (None, one.name)]
    refs = for_each(lambda one: find_ref(store, one.name, one.version or ""), wanted)
    return sorted(refs, key=lambda ref: (ref.name, version_order(ref.version)))


def _newest_of(
    store: Store, policy: TrustPolicy | None, reference: Reference
) -> tuple[Channel, StoredRecord | None]:
    assert reference.channel is not None
    channel = Channel(store, reference.name, reference.channel, policy=policy)
    return channel, channel.unverified.newest()


def _row(store: Store, ref: VersionRef, named: _Named | None, refused: _Named | None) -> VersionRow:
    yanked = find_yank(store, ref.name, ref.version)
    return VersionRow(
        ref=ref,
        channels=_channels_of(ref, named),
        refused=_channels_of(ref, refused),
        yanked=yanked.reason if yanked is not None else None,
    )


def _channels_of(ref: VersionRef, named: _Named | None) -> tuple[str, ...] | None:
    return None if named is None else tuple(named.get((ref.name, ref.version), ()))
