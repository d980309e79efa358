"""`index.json`: all versions, for OCI tools and for clients that cannot list.

It follows from the versions' own objects and is never asked where these are at hand.
"""

from collections.abc import Iterable

from ptefoundry.errors import ConfigError, ObjectMissingError, RegistryError
from ptefoundry.registry.documents import replace_document
from ptefoundry.registry.modelpack import BUNDLE_TYPE
from ptefoundry.registry.names import INDEX_KEY, Reference, parse_reference
from ptefoundry.registry.oci import (
    DOCUMENT_LIMIT,
    INDEX_TYPE,
    Descriptor,
    ImageIndex,
    parse_index,
)
from ptefoundry.registry.refs import VersionRef, list_refs
from ptefoundry.registry.store.interface import Store

REF_NAME = "org.opencontainers.image.ref.name"


def add_to_catalog(store: Store, ref: VersionRef) -> None:
    """List a version, if it is not listed yet."""
    _change(store, store.url, add=[ref], drop=[])


def drop_from_catalog(store: Store, refs: Iterable[VersionRef]) -> None:
    """List versions no longer."""
    _change(store, store.url, add=[], drop=[str(ref) for ref in refs])


def rebuild_catalog(store: Store) -> None:
    """List the versions that there are and no others.

    Raises:
        StoreError: the store cannot list.
        RegistryError: a version is malformed.
    """

    def rebuild(_found: bytes | None) -> bytes:
        # Listed after the present catalog was read: a push that adds itself meanwhile
        # changes it, and this is done again.
        return _to_bytes([_describe(ref) for ref in list_refs(store) if ref.removed is None])

    replace_document(store, INDEX_KEY, rebuild, limit=DOCUMENT_LIMIT)


def read_catalog(store: Store) -> list[tuple[Reference, Descriptor]]:
    """The versions that are listed, each with the descriptor of its index.

    Raises:
        RegistryError: it is missing or malformed.
    """
    try:
        data, _ = store.read(INDEX_KEY, limit=DOCUMENT_LIMIT)
    except ObjectMissingError as error:
        raise RegistryError(
            f"{store.url}: expected a registry, found no {INDEX_KEY}; check the address, or make "
            "one with `ptefoundry registry init`"
        ) from error
    where = f"{store.url}{INDEX_KEY}"
    listed = []
    for descriptor in parse_index(data, where=where).manifests:
        listed.append((_parse_name(descriptor.annotations.get(REF_NAME, ""), where), descriptor))
    return listed


def _parse_name(text: str, where: str) -> Reference:
    try:
        reference = parse_reference(text)
    except ConfigError as error:
        raise RegistryError(f"{where}: {error}") from error
    if reference.version is None:
        raise RegistryError(f"{where}: expected names of versions, found {text!r}")
    return reference


def _change(store: Store, url: str, *, add: list[VersionRef], drop: list[str]) -> None:
    def change(data: bytes | None) -> bytes:
        where = f"{url}{INDEX_KEY}"
        before = parse_index(data, where=where).manifests if data is not None else ()
        new = [_describe(ref) for ref in add]
        gone = {*drop, *(descriptor.annotations[REF_NAME] for descriptor in new)}
        kept = [old for old in before if old.annotations.get(REF_NAME) not in gone]
        return _to_bytes([*kept, *new])

    replace_document(store, INDEX_KEY, change, limit=DOCUMENT_LIMIT)


def _describe(ref: VersionRef) -> Descriptor:
    return Descriptor(
        media_type=INDEX_TYPE,
        digest=ref.digest,
        size=ref.size,
        annotations={REF_NAME: str(ref)},
        artifact_type=BUNDLE_TYPE,
    )


def _to_bytes(listed: list[Descriptor]) -> bytes:
    listed = sorted(listed, key=lambda descriptor: descriptor.annotations.get(REF_NAME, ""))
    return ImageIndex(manifests=tuple(listed)).to_bytes()
