"""Which blobs are in use: of versions, channels and pushes under way."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from ptefoundry.errors import RegistryError
from ptefoundry.registry.channels import Channel, StoredRecord, list_channels
from ptefoundry.registry.compressed import list_compressed
from ptefoundry.registry.documents import parse_time
from ptefoundry.registry.leases import Lease
from ptefoundry.registry.names import Reference, blob_key, hex_of
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.references import (
    Edge,
    Failed,
    attached_edges,
    list_subjects,
    root_edge,
    walk,
)
from ptefoundry.registry.refs import VersionRef
from ptefoundry.registry.store.interface import Store

HISTORY_KEPT = 10
"""Newest records of a channel whose versions are not removed, so that it can be rolled back."""


@dataclass(frozen=True)
class ChannelState:
    """What a channel says now, and what it said of late."""

    label: str
    current: tuple[StoredRecord, ...]
    """The newest record and, if it was left behind, the pointer's: what clients may ask for."""
    recent: tuple[StoredRecord, ...]
    """The newest `HISTORY_KEPT`."""


@dataclass(frozen=True)
class Live:
    """Digests of blobs that are in use; 32 bytes each, as there may be many."""

    used: frozenset[bytes]
    """By versions, channels and pushes under way."""
    spared: frozenset[bytes]
    """By versions that were removed so recently that somebody may still be pulling them."""
    subjects: dict[str, float]
    """Digests to which something is attached, with the time of the last change."""
    compressed: frozenset[str]
    """Digests of documents that have a compressed copy."""

    def is_used(self, digest: str) -> bool:
        """Whether something refers to the blob."""
        return bytes.fromhex(hex_of(digest)) in self.used

    def is_spared(self, digest: str) -> bool:
        """Whether it must not be deleted yet."""
        return bytes.fromhex(hex_of(digest)) in self.spared


def read_channels(store: Store) -> list[ChannelState]:
    """All channels, without looking at signatures: a forged record can only keep more.

    Raises:
        RegistryError: a record is malformed or missing.
    """

    def read(reference: Reference) -> ChannelState | None:
        assert reference.channel is not None
        channel = Channel(store, reference.name, reference.channel)
        pointer, recent = channel.pointer(), tuple(islice(channel.history(), HISTORY_KEPT))
        current = recent[:1] if pointer is None else (*recent[:1], pointer)
        return ChannelState(str(reference), current, recent) if recent else None

    return [state for state in for_each(read, list_channels(store)) if state is not None]


def find_live(
    store: Store,
    refs: Iterable[VersionRef],
    channels: Iterable[ChannelState],
    leases: Iterable[Lease],
    *,
    now: float,
    grace_s: float,
) -> Live:
    """Find what is in use.

    Args:
        store: the registry's.
        refs: all versions, removed ones too.
        channels: all channels.
        leases: all leases.
        now: seconds since 1970.
        grace_s: seconds for which the content of a removed version is still there.

    Raises:
        RegistryError: something that is in use is missing or malformed, so that nobody
            can say what it refers to.
    """
    refs = list(refs)
    subjects = list_subjects(store)
    leased = [digest for lease in leases if lease.expires > now for digest in lease.digests]
    roots = [
        *(root_edge(ref.digest, ref.size, owner=str(ref)) for ref in refs if ref.removed is None),
        *(
            root_edge(stored.record.digest, stored.record.size, owner=channel.label)
            for channel in channels
            for stored in channel.current
        ),
        *(
            edge
            for digest in leased
            if digest in subjects
            for edge in attached_edges(store, digest)
        ),
    ]
    used = _digests(walk(store, roots, subjects=subjects))
    used.update(bytes.fromhex(hex_of(digest)) for digest in leased)
    removed = [
        root_edge(ref.digest, ref.size, owner=str(ref))
        for ref in refs
        if _was_removed_after(ref, now - grace_s)
    ]
    spared = _digests(walk(store, removed, subjects=subjects, failed=_skip_missing(store)))
    return Live(frozenset(used), frozenset(spared), subjects, list_compressed(store))


def _digests(edges: Iterable[Edge]) -> set[bytes]:
    return {bytes.fromhex(hex_of(edge.target.digest)) for edge in edges}


def _was_removed_after(ref: VersionRef, time: float) -> bool:
    return ref.removed is not None and parse_time(ref.removed, where=f"{ref}: removed") > time


def _skip_missing(store: Store) -> Failed:
    """What is missing of a version that was given up refers to nothing."""

    def failed(edge: Edge, _key: str, error: RegistryError) -> None:
        if store.head(blob_key(edge.target.digest)) is not None:
            raise error

    return failed
