"""Which versions are given up, and how one that was given up comes back."""

from collections.abc import Collection, Iterable, Sequence

from ptefoundry.errors import ConflictError, RegistryError
from ptefoundry.registry.catalog import add_to_catalog, drop_from_catalog
from ptefoundry.registry.documents import Clock
from ptefoundry.registry.leases import held_lease
from ptefoundry.registry.liveness import ChannelState, read_channels
from ptefoundry.registry.names import YANKS, Reference, blob_key, version_order
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.references import root_edge, walk
from ptefoundry.registry.refs import VersionRef, remove_ref, restore_ref
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.tombstones import settle_blobs

_Named = tuple[str, str]


def choose_old(
    refs: Iterable[VersionRef],
    channels: Iterable[ChannelState],
    yanked: Collection[_Named],
    *,
    keep: int,
) -> list[VersionRef]:
    """The versions to give up.

    A yanked version takes no place among those to keep, and is kept as long as its
    neighbours are: whoever is pinned to it should not lose it sooner than others.

    Args:
        refs: all versions.
        channels: all channels; what they name, now or in their recent history, is kept.
        yanked: name and version of those that were yanked.
        keep: newest versions to keep of each name, by the order of versions.
    """
    named = {
        (stored.record.name, stored.record.version)
        for channel in channels
        for stored in (*channel.current, *channel.recent)
    }
    by_name: dict[str, list[VersionRef]] = {}
    for ref in refs:
        if ref.removed is None:
            by_name.setdefault(ref.name, []).append(ref)
    old = []
    for versions in by_name.values():
        versions.sort(key=lambda ref: version_order(ref.version), reverse=True)
        usable = [ref for ref in versions if (ref.name, ref.version) not in yanked]
        if len(usable) < keep:
            continue
        oldest_kept = versions.index(usable[keep - 1])
        old += [ref for ref in versions[oldest_kept + 1 :] if (ref.name, ref.version) not in named]
    return old


def choose_named(
    refs: Iterable[VersionRef], channels: Iterable[ChannelState], wanted: Iterable[Reference]
) -> list[VersionRef]:
    """The versions that the user wants to be given up.

    Raises:
        RegistryError: there is no such version.
        ConflictError: a channel names it.
    """
    known = {(ref.name, ref.version): ref for ref in refs}
    channel_of = {
        (stored.record.name, stored.record.version): channel.label
        for channel in channels
        for stored in channel.current
    }
    chosen = []
    for reference in wanted:
        ref = known.get((reference.name, reference.version or ""))
        if ref is None:
            raise RegistryError(f"{reference}: expected a version such as name@1.0.0, found none")
        if label := channel_of.get((ref.name, ref.version)):
            raise ConflictError(
                f"{ref}: expected a version that no channel names, found it in {label}; promote "
                "another one first"
            )
        if ref.removed is None:
            chosen.append(ref)
    return chosen


def list_yanked(store: Store) -> set[_Named]:
    """Name and version of all that were yanked."""
    keys = (info.key.removeprefix(YANKS).removesuffix(".json") for info in store.list(YANKS))
    return {(name, version) for name, _, version in (key.partition("/") for key in keys)}


def remove_versions(
    store: Store, refs: Sequence[VersionRef], old: Iterable[VersionRef], *, clock: Clock
) -> list[VersionRef]:
    """Give versions up; their content is collected later.

    Returns:
        All versions as they are now. One that a channel came to name at the same moment
        has been taken back.
    """
    changed = {str(ref): remove_ref(store, ref, clock=clock) for ref in old}
    now = [changed.get(str(ref), ref) for ref in refs]
    gone = [ref for ref in now if ref.removed is not None]
    if gone:
        # Also those that a run which was killed has left there.
        drop_from_catalog(store, gone)
    return restore_named(store, now, read_channels(store), clock=clock) if changed else now


def restore_named(
    store: Store, refs: Sequence[VersionRef], channels: Iterable[ChannelState], *, clock: Clock
) -> list[VersionRef]:
    """Take back the versions that were given up although a channel names them.

    Returns:
        All versions as they are now.

    Raises:
        RegistryError: the content of one is gone.
    """
    named = {
        (stored.record.name, stored.record.version)
        for channel in channels
        for stored in channel.current
    }
    return [
        restore_version(store, ref, clock=clock)
        if ref.removed is not None and (ref.name, ref.version) in named
        else ref
        for ref in refs
    ]


def restore_version(store: Store, ref: VersionRef, *, clock: Clock) -> VersionRef:
    """Take a version back that was given up, if all of its content is still there.

    Raises:
        RegistryError: some of it is gone.
        ConflictError: some of it is being deleted at this moment.
    """
    root = root_edge(ref.digest, ref.size, owner=str(ref))
    digests = sorted({edge.target.digest for edge in walk(store, [root])})

    def check() -> None:
        found = for_each(lambda digest: store.head(blob_key(digest)), digests)
        gone = [digest for digest, info in zip(digests, found, strict=True) if info is None]
        if gone:
            raise RegistryError(
                f"{store.url}: {ref}: expected its content to be there still, found {len(gone)} "
                f"blobs gone, {gone[0]} among them; push it under the next number"
            )

    with held_lease(store, digests, clock=clock):
        settle_blobs(store, digests, check, clock=clock)
        restored = restore_ref(store, ref)
    add_to_catalog(store, restored)
    return restored
