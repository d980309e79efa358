"""Copying versions and channels from one registry to another, byte for byte.

The order is that of a push: content, then what refers to it, then names. Every blob is
verified on the way, what the target has is not sent again, and nothing is overwritten.
So a mirror may be killed and run again, and it brings back blobs that a target has lost.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from ptefoundry.errors import ObjectExistsError, ObjectMissingError, RegistryError
from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.catalog import add_to_catalog, read_catalog
from ptefoundry.registry.channel_list import find_channels
from ptefoundry.registry.channels import Channel
from ptefoundry.registry.compressed import compress_documents
from ptefoundry.registry.documents import DOCUMENT_LIMIT, Clock
from ptefoundry.registry.leases import held_lease
from ptefoundry.registry.mirror_channels import mirror_channel
from ptefoundry.registry.names import Reference, yank_key
from ptefoundry.registry.references import root_edge, walk
from ptefoundry.registry.referrers import list_attached, list_referrers
from ptefoundry.registry.refs import (
    VersionRef,
    check_same_content,
    create_ref,
    find_ref,
    list_refs,
    look_up_ref,
)
from ptefoundry.registry.signed_version import check_files_signed
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.tombstones import settle_blobs
from ptefoundry.registry.transfer import copy_missing
from ptefoundry.registry.trust.policy import TrustPolicy


@dataclass(frozen=True, kw_only=True)
class Mirrored:
    """What was copied."""

    versions: tuple[str, ...]
    """Those that the target did not have."""
    known: tuple[str, ...]
    """Those that it had."""
    channels: dict[str, int] | None
    """Records that were added to each channel; None if the source cannot say which it has."""
    blobs: int
    bytes: int


def mirror(
    source: Store,
    target: Store,
    wanted: Sequence[Reference] = (),
    *,
    policy: TrustPolicy | None,
    cache: BlobCache,
    clock: Clock,
) -> Mirrored:
    """Copy versions and channels.

    Args:
        source: where from; it is only read.
        target: the other registry's store.
        wanted: names (all of their versions and channels), versions, and channels (with
            the version that they name); none: everything.
        policy: who must have signed the versions and the newest record of each channel;
            None: that is not looked at.
        cache: through which large blobs go, one batch at a time.
        clock: seconds since 1970.

    Raises:
        ConflictError: the target has other content under the name of a version, or
            another history of a channel.
        DigestMismatchError: the source sent other bytes than those of a digest.
        RegistryError: what the source has is malformed, or something is missing.
        TrustError: a version or a channel is not signed as the policy demands; nothing was
            copied.
        DiskFullError: the cache has no room for a large blob.
    """
    listed = _list_channels(source, wanted)
    refs, channels = _choose_versions(source, wanted), list[Reference]()
    for reference in dict.fromkeys([*_named_channels(wanted), *(listed or ())]):
        newest = _channel_of(source, reference, policy).newest()
        if newest is None:
            if reference in wanted:
                raise RegistryError(f"{source.url}: {reference}: expected a channel, found none")
            continue  # A list that does not follow from listing may name what is not there.
        channels.append(reference)
        refs.setdefault(
            f"{reference.name}@{newest.record.version}",
            find_ref(source, reference.name, newest.record.version),
        )
    present = {key: look_up_ref(target, ref.name, ref.version) for key, ref in refs.items()}
    for key, found in present.items():
        if found is not None:
            check_same_content(found, refs[key].digest)
    if policy is not None:
        for ref in refs.values():
            check_files_signed(source, ref, policy=policy, now=clock())
    copied = [_copy_version(source, target, ref, cache, clock) for ref in refs.values()]
    records = {
        str(reference): mirror_channel(
            _channel_of(source, reference, policy), _channel_of(target, reference, None), target
        )
        for reference in channels
    }
    return Mirrored(
        versions=tuple(key for key, found in present.items() if found is None),
        known=tuple(key for key, found in present.items() if found is not None),
        channels=None if listed is None and not channels else records,
        blobs=sum(blobs for blobs, _ in copied),
        bytes=sum(size for _, size in copied),
    )


def _named_channels(wanted: Sequence[Reference]) -> list[Reference]:
    return [reference for reference in wanted if reference.channel is not None]


def _list_channels(source: Store, wanted: Sequence[Reference]) -> list[Reference] | None:
    """All channels of names that are wanted; None where the source cannot say."""
    names = _wanted_names(wanted)
    if wanted and not names:
        return []
    every = find_channels(source)
    if every is None:
        return None
    return [one for one in every if not wanted or one.name in names]


def _wanted_names(wanted: Sequence[Reference]) -> set[str]:
    return {one.name for one in wanted if one.channel is None and one.version is None}


def _choose_versions(source: Store, wanted: Sequence[Reference]) -> dict[str, VersionRef]:
    """Versions by what they are called; those that were removed are left out."""
    names = _wanted_names(wanted)
    chosen = [find_ref(source, one.name, one.version) for one in wanted if one.version is not None]
    for ref in chosen:
        if ref.removed is not None:
            raise RegistryError(f"{source.url}: {ref}: it was removed on {ref.removed}")
    if names or not wanted:
        found = [ref for ref in _all_versions(source) if not wanted or ref.name in names]
        if missing := names - {ref.name for ref in found}:
            raise RegistryError(
                f"{source.url}: expected versions of {', '.join(sorted(missing))}, found none"
            )
        chosen += [ref for ref in found if ref.removed is None]
    return {str(ref): ref for ref in chosen}


def _all_versions(source: Store) -> list[VersionRef]:
    if source.can_list:
        return list_refs(source)
    listed = read_catalog(source)
    return [find_ref(source, one.name, one.version or "") for one, _ in listed]


def _channel_of(store: Store, reference: Reference, policy: TrustPolicy | None) -> Channel:
    assert reference.channel is not None
    return Channel(store, reference.name, reference.channel, policy=policy)


def _copy_version(
    source: Store, target: Store, ref: VersionRef, cache: BlobCache, clock: Clock
) -> tuple[int, int]:
    """Copy what the target lacks of a version; returns how many blobs and bytes that was."""
    root = root_edge(ref.digest, ref.size, owner=str(ref))
    edges = list(walk(source, [root], subjects={ref.digest}))
    blobs = [edge.target for edge in edges]
    lists = {edge.chunks_of.digest: edge.target for edge in edges if edge.chunks_of is not None}
    digests = sorted({blob.digest for blob in blobs})
    attached = list_referrers(source, ref.digest)
    # Documents come last, so that nothing is there before what it refers to.
    copy = partial(
        copy_missing,
        source,
        target,
        blobs[::-1],
        chunk_lists=lists,
        cache=cache,
        label=f"mirror {ref}",
    )
    with held_lease(target, digests, clock=clock):
        copied = copy()

        def complete() -> None:
            copied.extend(copy())
            if attached:
                list_attached(target, ref.digest, attached)

        settle_blobs(target, digests, complete, clock=clock)
        compress_documents(target, blobs)
        there = create_ref(target, ref)
    _copy_yank(source, target, ref)
    add_to_catalog(target, there)
    return len(copied), sum(blob.size for blob in copied)


def _copy_yank(source: Store, target: Store, ref: VersionRef) -> None:
    key = yank_key(ref.name, ref.version)
    with suppress(ObjectMissingError, ObjectExistsError):
        data, _ = source.read(key, limit=DOCUMENT_LIMIT)
        # A reason that the target has of its own stays.
        target.create(key, data)
