"""Undoing what `gc` has done, as long as the content is there."""

from dataclasses import dataclass

from ptefoundry.errors import ConflictError, RegistryError
from ptefoundry.registry.documents import Clock
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.refs import list_refs
from ptefoundry.registry.retention import restore_version
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.tombstones import Tombstone, change_state, list_tombstones


@dataclass(frozen=True, kw_only=True)
class Undeleted:
    """What has been taken back."""

    blobs: int
    """Blobs that were condemned and are not any more."""
    restored: tuple[str, ...]
    """Versions that had been given up and are there again."""
    lost: dict[str, str]
    """Versions whose content is gone, with the reason."""


def undelete(store: Store, *, clock: Clock) -> Undeleted:
    """Take back all tombstones, then the removed versions whose content is all there.

    Raises:
        RegistryError: a version or tombstone is malformed.
    """
    condemned = [note for note in list_tombstones(store) if note.state == "condemned"]

    def rescue(note: Tombstone) -> bool:
        return change_state(store, note, "rescued", clock=clock) is not None

    blobs = sum(for_each(rescue, condemned))
    restored: list[str] = []
    lost: dict[str, str] = {}
    for ref in list_refs(store):
        if ref.removed is None:
            continue
        try:
            restore_version(store, ref, clock=clock)
        except (RegistryError, ConflictError) as error:
            lost[str(ref)] = str(error)
        else:
            restored.append(str(ref))
    return Undeleted(blobs=blobs, restored=tuple(restored), lost=lost)
