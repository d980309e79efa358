"""Pushing: blobs first, then what refers to them, then the version's name.

Everything before the name is content under its digest, which nobody reads until the
name is there; so a push may be killed at any point and run again. The name is
created once: of several builders one wins, and those with the same content are told
that it is there.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ptefoundry.registry.catalog import add_to_catalog
from ptefoundry.registry.compressed import keep_all_compressed
from ptefoundry.registry.content import Blob, Sent, find_missing, send_blobs
from ptefoundry.registry.documents import Clock, format_time
from ptefoundry.registry.leases import held_lease
from ptefoundry.registry.oci import Descriptor
from ptefoundry.registry.refs import VersionRef, check_same_content, create_ref, look_up_ref
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.tombstones import settle_blobs


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """A version to push: an index and all that it refers to."""

    name: str
    version: str
    index: Descriptor
    blobs: tuple[Blob, ...]
    """Everything, in the order of reference: who refers to a blob comes after it."""


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What a push did."""

    ref: VersionRef
    is_new: bool
    """Whether the version was not there before."""
    sent: Sent


def push_version(
    store: Store,
    new: NewVersion,
    *,
    by: str,
    clock: Clock,
    attach: Callable[[], None] = lambda: None,
) -> Pushed:
    """Publish a version; one that is there with this content gets back what it lacks.

    Args:
        store: the registry's.
        new: what to publish.
        by: who does it.
        clock: for the time that is noted, and for leases.
        attach: called when all content is there and before the name is, and again if
            that took long; puts signatures and what else belongs to the version.

    Raises:
        ConflictError: the version is there with other content.
        StoreError: the store failed; running it again goes on.
    """
    if (found := look_up_ref(store, new.name, new.version)) is not None:
        check_same_content(found, new.index.digest)
        # What a named version refers to is never garbage, so no lease is needed.
        sent = send_blobs(store, new.blobs, label=f"push {new.name}@{new.version}")
        keep_all_compressed(store, new.blobs)
        attach()
        add_to_catalog(store, found)
        return Pushed(ref=found, is_new=False, sent=sent)
    with held_lease(store, [blob.digest for blob in new.blobs], clock=clock):
        sent = send_blobs(store, new.blobs, label=f"push {new.name}@{new.version}")
        keep_all_compressed(store, new.blobs)

        def complete() -> None:
            # With the index just rescued, what is attached to it is safe as well.
            attach()
            send_blobs(store, find_missing(store, new.blobs), label="push")

        settle_blobs(store, [blob.digest for blob in new.blobs], complete, clock=clock)
        mine = VersionRef(
            name=new.name,
            version=new.version,
            digest=new.index.digest,
            size=new.index.size,
            time=format_time(clock()),
            by=by,
        )
        ref = create_ref(store, mine)
    add_to_catalog(store, ref)
    return Pushed(ref=ref, is_new=ref == mine, sent=sent)
