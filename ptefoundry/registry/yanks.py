"""Yanked versions: still there for whoever names them, no longer offered to anybody."""

from dataclasses import asdict, dataclass

from ptefoundry.digest import canonical_json
from ptefoundry.errors import ObjectMissingError, RegistryError
from ptefoundry.registry.channels import Channel, list_channels
from ptefoundry.registry.documents import (
    DOCUMENT_LIMIT,
    FORMAT_VERSION,
    read_fields,
    replace_document,
)
from ptefoundry.registry.names import Reference, yank_key
from ptefoundry.registry.refs import find_ref
from ptefoundry.registry.store.interface import Store


@dataclass(frozen=True, kw_only=True)
class Yank:
    """Why a version should not be used."""

    name: str
    version: str
    reason: str
    time: str
    """RFC 3339."""
    by: str


def yank(store: Store, yanked: Yank) -> None:
    """Note that a version should not be used; a later reason replaces an earlier one.

    Raises:
        RegistryError: there is no such version.
    """
    find_ref(store, yanked.name, yanked.version)
    data = canonical_json({"format": FORMAT_VERSION, **asdict(yanked)})
    replace_document(store, yank_key(yanked.name, yanked.version), lambda _found: data)


def unyank(store: Store, name: str, version: str) -> None:
    """Forget that a version was yanked.

    Raises:
        RegistryError: there is no such version.
    """
    find_ref(store, name, version)
    store.delete(yank_key(name, version))


def find_yank(store: Store, name: str, version: str) -> Yank | None:
    """Why a version should not be used, None if nothing speaks against it.

    Raises:
        RegistryError: the note is malformed.
    """
    key = yank_key(name, version)
    try:
        data, _ = store.read(key, limit=DOCUMENT_LIMIT)
    except ObjectMissingError:
        return None
    fields = read_fields(data, where=f"{store.url}{key}")
    return Yank(
        name=fields.same("name", name),
        version=fields.same("version", version),
        reason=fields.text("reason"),
        time=fields.time("time"),
        by=fields.text("by"),
    )


def channels_that_name(store: Store, name: str, version: str) -> list[Reference]:
    """The channels whose newest record names a version, whoever signed it.

    Raises:
        RegistryError: a channel is malformed.
    """
    found = []
    for reference in list_channels(store, name):
        assert reference.channel is not None
        newest = Channel(store, name, reference.channel).newest()
        if newest is not None and newest.record.version == version:
            found.append(reference)
    return found


def check_usable(store: Store, name: str, version: str) -> None:
    """Refuse a version that was yanked or removed.

    Raises:
        RegistryError: it was, or there is none.
    """
    ref = find_ref(store, name, version)
    if ref.removed is not None:
        raise RegistryError(f"{store.url}: {ref}: it was removed on {ref.removed}; choose another")
    if found := find_yank(store, name, version):
        raise RegistryError(
            f"{store.url}: {ref}: it was yanked on {found.time} by {found.by}: {found.reason}; "
            "choose another version"
        )
