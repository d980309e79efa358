"""What is attached to a version after it was made: signatures, provenance, measurements.

Each is a manifest whose `subject` is the version's index (OCI image-spec 1.1,
"Listing Referrers"), listed under a key that follows from the subject's digest.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ptefoundry.errors import DigestMismatchError, ObjectMissingError, RegistryError
from ptefoundry.registry.compressed import keep_all_compressed, read_document
from ptefoundry.registry.content import Blob, blob_of, send_blobs
from ptefoundry.registry.documents import Clock, replace_document
from ptefoundry.registry.leases import held_lease
from ptefoundry.registry.names import referrers_key
from ptefoundry.registry.oci import (
    DOCUMENT_LIMIT,
    MANIFEST_TYPE,
    Descriptor,
    ImageIndex,
    ImageManifest,
    describe_bytes,
    parse_index,
    parse_manifest,
)
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.paths import check_paths
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.tombstones import settle_blobs

TITLE = "org.opencontainers.image.title"
_EMPTY_TYPE, _EMPTY = "application/vnd.oci.empty.v1+json", b"{}"
_MOST = 1000
"""Attachments of one version that are read."""
MOST_WRITTEN = 500
"""Attachments after which none is added: readers would refuse the version at last."""


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """Small files of one kind that belong to a version."""

    artifact_type: str
    media_type: str
    """Of each file."""
    files: Mapping[str, bytes]
    """Content by name."""
    older: Literal["kept", "replaced", "enough"] = "kept"
    """What becomes of older ones of the kind: they stay; those with no other names of files
    than these give way; one makes this one superfluous."""


def attach(
    store: Store, subject: Descriptor, attachments: Iterable[Attachment], *, clock: Clock
) -> None:
    """Put attachments beside a version; those that are there already change nothing.

    Raises:
        ConflictError: content of one is being deleted as garbage at this moment.
        RegistryError: the version has too many already.
    """
    blobs: list[Blob] = []
    added: list[Descriptor] = []
    replaced: set[str] = set()
    listed = list_referrers(store, subject.digest)
    for attachment in attachments:
        older = [one for one in listed if one.artifact_type == attachment.artifact_type]
        if older and attachment.older == "enough":
            continue
        if attachment.older == "replaced":
            replaced |= _with_these_names(store, older, attachment.files.keys())
        manifest = _make_manifest(subject, attachment)
        blobs += [*map(blob_of, attachment.files.values()), blob_of(_EMPTY), blob_of(manifest)]
        added.append(
            describe_bytes(manifest, MANIFEST_TYPE, artifact_type=attachment.artifact_type)
        )
    if added:
        digests = [blob.digest for blob in blobs]
        with held_lease(store, digests, clock=clock):
            settle_blobs(
                store,
                digests,
                lambda: send_blobs(store, blobs, label="attachments"),
                clock=clock,
            )
            keep_all_compressed(store, blobs)
            list_attached(store, subject.digest, added, replaced, most=MOST_WRITTEN)


def list_attached(
    store: Store,
    digest: str,
    added: Iterable[Descriptor],
    replaced: Collection[str] = (),
    *,
    most: int = _MOST,
) -> None:
    """List manifests as attached to a version's index, after those that are listed already.

    Args:
        store: the registry's.
        digest: of the version's index.
        added: the manifests.
        replaced: digests of those that are listed no longer, unless they are added.
        most: that may be listed.

    Raises:
        RegistryError: there would be more.
    """
    added = tuple(added)
    gone = set(replaced) - {descriptor.digest for descriptor in added}
    where = f"{store.url}{referrers_key(digest)}"

    def add(data: bytes | None) -> bytes:
        listed = parse_index(data, where=where).manifests if data is not None else ()
        known = {item.digest for item in listed}
        new = [descriptor for descriptor in added if descriptor.digest not in known]
        if data is not None and not new and not known & gone:
            return data
        kept = [item for item in listed if item.digest not in gone]
        if new and len(kept) + len(new) > most:
            raise RegistryError(
                f"{where}: expected at most {most} attachments of one version, found {len(kept)} "
                f"and {len(new)} more; push the bundle under the next number"
            )
        return ImageIndex(manifests=(*kept, *new)).to_bytes()

    replace_document(store, referrers_key(digest), add, limit=DOCUMENT_LIMIT)


def list_referrers(store: Store, digest: str) -> tuple[Descriptor, ...]:
    """Manifests of what is attached to a version's index, the oldest first.

    Raises:
        RegistryError: the list is malformed.
    """
    key = referrers_key(digest)
    try:
        data, _ = store.read(key, limit=DOCUMENT_LIMIT)
    except ObjectMissingError:
        return ()
    listed = parse_index(data, where=f"{store.url}{key}").manifests
    if len(listed) > _MOST:
        raise RegistryError(f"{store.url}{key}: expected at most {_MOST}, found {len(listed)}")
    return listed


def read_attachments(
    store: Store,
    digest: str,
    artifact_type: str,
    *,
    wanted: Callable[[str], bool],
    read: Callable[[Descriptor], bytes],
) -> Iterator[dict[str, bytes]]:
    """Files of each attachment of a kind, by name, the newest first; verified by digest.

    Args:
        store: the registry's.
        digest: of the version's index.
        artifact_type: the kind.
        wanted: whether a file is, by its name; others are not read.
        read: gets and verifies a document; called by several threads at once.

    Raises:
        RegistryError: one is malformed, or belongs to something else.
    """
    for descriptor in reversed(list_referrers(store, digest)):
        if descriptor.artifact_type != artifact_type:
            continue
        where = f"{store.url}{descriptor.digest}"
        manifest = parse_manifest(read(descriptor), where=where)
        if manifest.subject is None or manifest.subject.digest != digest:
            raise RegistryError(f"{where}: subject: expected {digest}, found {manifest.subject}")
        names = [layer.annotations.get(TITLE, "") for layer in manifest.layers]
        check_paths(names, where=f"{where}: layers")
        layers = {
            name: layer for name, layer in zip(names, manifest.layers, strict=True) if wanted(name)
        }
        yield dict(zip(layers, for_each(read, layers.values()), strict=True))


def _with_these_names(
    store: Store, descriptors: Iterable[Descriptor], names: Collection[str]
) -> set[str]:
    """Digests of the manifests whose files all have one of these names."""
    found = set()
    for descriptor in descriptors:
        where = f"{store.url}{descriptor.digest}"
        try:
            manifest = parse_manifest(read_document(store, descriptor), where=where)
        except (RegistryError, DigestMismatchError, ObjectMissingError):
            continue  # Whoever reads it is told; it is not ours to take away.
        if all(layer.annotations.get(TITLE) in names for layer in manifest.layers):
            found.add(descriptor.digest)
    return found


def _make_manifest(subject: Descriptor, attachment: Attachment) -> bytes:
    return ImageManifest(
        artifact_type=attachment.artifact_type,
        config=describe_bytes(_EMPTY, _EMPTY_TYPE),
        layers=tuple(
            describe_bytes(data, attachment.media_type, annotations={TITLE: name})
            for name, data in sorted(attachment.files.items())
        ),
        subject=Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size),
    ).to_bytes()
