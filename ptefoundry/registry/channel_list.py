"""`channels.json`: which channels there are, for clients that cannot list.

It follows from the channels' own objects and is never asked where these are at hand.
Whoever moves a channel sees to it that the channel is listed, so one that was left out,
as by somebody who was killed or has an older ptefoundry, is listed with its next move.
"""

import logging
from collections.abc import Iterable

from ptefoundry.digest import canonical_json
from ptefoundry.errors import (
    ConfigError,
    ObjectMissingError,
    RegistryError,
    StoreRefusedError,
)
from ptefoundry.registry.channels import list_channels
from ptefoundry.registry.documents import (
    DOCUMENT_LIMIT,
    FORMAT_VERSION,
    read_fields,
    replace_document,
)
from ptefoundry.registry.names import (
    CHANNEL_LIST_KEY,
    Reference,
    check_channel,
    check_name,
)
from ptefoundry.registry.store.interface import Store

_log = logging.getLogger("ptefoundry")


def find_channels(store: Store, name: str | None = None) -> list[Reference] | None:
    """All channels of a name or of all names, in order; None where nobody can say.

    A channel that is listed need not exist, where the store itself cannot list.

    Raises:
        RegistryError: there is something else among them, or `channels.json` is malformed.
    """
    if store.can_list:
        return list_channels(store, name)
    listed = read_channel_list(store)
    if listed is None or name is None:
        return listed
    return [reference for reference in listed if reference.name == name]


def read_channel_list(store: Store) -> list[Reference] | None:
    """The channels that are listed, in order; None where the registry is older than the list.

    Raises:
        RegistryError: it is malformed.
    """
    try:
        data, _ = store.read(CHANNEL_LIST_KEY, limit=DOCUMENT_LIMIT)
    except ObjectMissingError:
        return None
    return parse_channel_list(data, where=f"{store.url}{CHANNEL_LIST_KEY}")


def ensure_channel_list(store: Store) -> None:
    """List the channels that there are, if there is no list yet.

    Raises:
        StoreError: the store cannot list.
    """
    replace_document(
        store,
        CHANNEL_LIST_KEY,
        lambda found: _to_bytes(list_channels(store), store) if found is None else found,
    )


def rebuild_channel_list(store: Store) -> None:
    """List the channels that there are and no others.

    Raises:
        StoreError: the store cannot list.
        RegistryError: there is something else among them.
    """
    # Listed after the present list was read: who adds a channel meanwhile changes it, and
    # this is done again.
    replace_document(store, CHANNEL_LIST_KEY, lambda _found: _to_bytes(list_channels(store), store))


def note_channel(store: Store, reference: Reference) -> None:
    """List a channel that was moved, unless it is listed already.

    The move has happened and counts, so what stands in the way of this is a warning.

    Raises:
        StoreError: the store cannot be reached.
    """

    def add(data: bytes | None) -> bytes:
        if data is None:
            return _to_bytes(list_channels(store), store)
        listed = parse_channel_list(data, where=f"{store.url}{CHANNEL_LIST_KEY}")
        return data if reference in listed else _to_bytes([*listed, reference], store)

    try:
        replace_document(store, CHANNEL_LIST_KEY, add)
    except (RegistryError, StoreRefusedError) as error:
        _log.warning(
            "%s was moved, but readers that cannot list will not find it: %s; run `ptefoundry "
            "fsck --repair` as somebody who may write this",
            *(reference, error),
        )


def parse_channel_list(data: bytes, *, where: str) -> list[Reference]:
    """Read a list of channels; the result is in order, and none is there twice.

    Raises:
        RegistryError: it is none; `where` names it.
    """
    names = read_fields(data, where=where).value("channels")
    if not isinstance(names, dict):
        raise RegistryError(f"{where}: channels: expected lists by name, found {names!r:.80}")
    found = set()
    for name, channels in names.items():
        if not isinstance(channels, list) or not all(isinstance(one, str) for one in channels):
            raise RegistryError(
                f"{where}: channels: {name!r:.80}: expected a list of texts, found {channels!r:.80}"
            )
        try:
            found |= {Reference(check_name(name), channel=check_channel(one)) for one in channels}
        except ConfigError as error:
            raise RegistryError(f"{where}: channels: {error}") from error
    return sorted(found, key=str)


def _to_bytes(channels: Iterable[Reference], store: Store) -> bytes:
    """Canonical JSON.

    Raises:
        RegistryError: nobody could read it.
    """
    names: dict[str, list[str]] = {}
    for reference in sorted(set(channels), key=str):
        assert reference.channel is not None
        names.setdefault(reference.name, []).append(reference.channel)
    data = canonical_json({"format": FORMAT_VERSION, "channels": names})
    if len(data) > DOCUMENT_LIMIT:
        raise RegistryError(
            f"{store.url}{CHANNEL_LIST_KEY}: expected at most {DOCUMENT_LIMIT} bytes, found "
            f"{len(data)}; there are too many channels to be listed"
        )
    return data
