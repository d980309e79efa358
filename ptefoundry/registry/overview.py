"""Which versions a registry has, and which channels name them."""

from dataclasses import asdict, dataclass
from typing import Any

from ptefoundry.registry.catalog import read_catalog
from ptefoundry.registry.channels import Channel, list_channels
from ptefoundry.registry.names import version_order
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
    channels: tuple[str, ...]
    """Channels that name it."""
    refused: tuple[str, ...]
    """Channels that name it in a record which the trust policy does not accept."""
    yanked: str | None
    """Why it should not be used."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self.ref) | {
            "channels": list(self.channels),
            "refused_channels": list(self.refused),
            "yanked": self.yanked,
        }


def list_versions(
    store: Store, name: str | None, *, policy: TrustPolicy | None
) -> list[VersionRow]:
    """The versions of a name or of all names; their channels where the store can list.

    Raises:
        RegistryError: one of them is malformed.
    """
    if not store.can_list:
        refs = [
            find_ref(store, reference.name, reference.version or "")
            for reference, _ in read_catalog(store)
            if name in (None, reference.name)
        ]
        refs.sort(key=lambda ref: (ref.name, version_order(ref.version)))
        return [_row(store, ref, {}, {}) for ref in refs]
    named: _Named = {}
    refused: _Named = {}
    for reference in list_channels(store, name):
        assert reference.channel is not None
        channel = Channel(store, reference.name, reference.channel, policy=policy)
        newest = channel.unverified.newest()
        if newest is not None:
            found = named if channel.refusal(newest) is None else refused
            found.setdefault((reference.name, newest.record.version), []).append(reference.channel)
    return [_row(store, ref, named, refused) for ref in list_refs(store, name)]


def _row(store: Store, ref: VersionRef, named: _Named, refused: _Named) -> VersionRow:
    yanked = find_yank(store, ref.name, ref.version)
    return VersionRow(
        ref=ref,
        channels=tuple(named.get((ref.name, ref.version), ())),
        refused=tuple(refused.get((ref.name, ref.version), ())),
        yanked=yanked.reason if yanked is not None else None,
    )
