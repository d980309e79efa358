"""Copying a channel's history to another registry, record by record as it is."""

from ptefoundry.errors import ConflictError, ObjectExistsError, RegistryError
from ptefoundry.registry.channel_list import note_channel
from ptefoundry.registry.channels import Channel, StoredRecord
from ptefoundry.registry.names import record_key
from ptefoundry.registry.refs import find_ref
from ptefoundry.registry.store.interface import Store

_STRIDE = 100
"""Records after which the pointer follows, should this be killed."""


def mirror_channel(source: Channel, target: Channel, store: Store) -> int:
    """Add the records that a channel's copy lacks; signatures stay valid, as bytes do.

    Args:
        source: the channel.
        target: its copy, which need not exist.
        store: the copy's.

    Returns:
        How many records were added.

    Raises:
        ConflictError: the copy has another history.
        RegistryError: a history is malformed, or the target lacks the newest version.
    """
    newer = _find_newer(source, target, store)
    if newer:
        _check_there(store, newer[-1])
    for done, stored in enumerate(newer, 1):
        key = record_key(target.name, target.channel, stored.record.number)
        try:
            store.create(key, stored.data)
        except ObjectExistsError as error:
            raise _differs(store, target, stored) from error
        if done % _STRIDE == 0 or done == len(newer):
            target.point_to(stored)
    note_channel(store, target.reference)
    return len(newer)


def _find_newer(source: Channel, target: Channel, store: Store) -> list[StoredRecord]:
    """Records of the source behind the end of the target's history, the oldest first."""
    there, newest = target.newest(), source.newest()
    if there is None or newest is None:
        return [*source.history()][::-1]
    newer = []
    if newest.record.number >= there.record.number:
        for stored in source.history():
            if stored.record.number == there.record.number:
                if stored.data != there.data:
                    raise _differs(store, target, stored)
                break
            newer.append(stored)
    else:
        same = next(one for one in target.history() if one.record.number == newest.record.number)
        if same.data != newest.data:
            raise _differs(store, target, newest)
    if not newer:
        # Left behind by whoever was killed.
        target.point_to(there)
    return newer[::-1]


def _check_there(store: Store, stored: StoredRecord) -> None:
    record = stored.record
    ref = find_ref(store, record.name, record.version)
    if ref.removed is not None or ref.digest != record.digest:
        raise RegistryError(
            f"{store.url}: {ref}: expected {record.digest}, which the channel names, found "
            f"{ref.digest}{', removed' if ref.removed else ''}; `ptefoundry gc --undo` may help"
        )


def _differs(store: Store, target: Channel, stored: StoredRecord) -> ConflictError:
    return ConflictError(
        f"{store.url}: {target}: number {stored.record.number}: expected the record of the "
        "channel that is copied, found another: it was moved here too; mirror into another "
        "registry"
    )
