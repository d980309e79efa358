"""What is attached to a version after it was made: signatures, provenance, measurements.

Each is a manifest whose `subject` is the version's index (OCI image-spec 1.1,
"Listing Referrers"), listed under a key that follows from the subject's digest.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ptefoundry.errors import ObjectMissingError, RegistryError
from ptefoundry.registry.compressed import keep_all_compressed
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
from ptefoundry.registry.paths import check_paths
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.tombstones import settle_blobs

TITLE = "org.opencontainers.image.title"
_EMPTY_TYPE, _EMPTY = "application/vnd.oci.empty.v1+json", b"{}"
_MOST = 1000


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """Small files of one kind that belong to a version."""

    artifact_type: str
    media_type: str
    """Of each file."""
    files: Mapping[str, bytes]
    """Content by name."""


def attach(
    store: Store, subject: Descriptor, attachments: Iterable[Attachment], *, clock: Clock
) -> None:
    """Put attachments beside a version; those that are there already change nothing.

    Raises:
        ConflictError: content of one is being deleted as garbage at this moment.
    """
    blobs: list[Blob] = []
    added: list[Descriptor] = []
    for attachment in attachments:
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
            list_attached(store, subject.digest, added)


def list_attached(store: Store, digest: str, added: Iterable[Descriptor]) -> None:
    """List manifests as attached to a version's index, after those that are listed already."""
    where = f"{store.url}{referrers_key(digest)}"

    def add(data: bytes | None) -> bytes:
        listed = parse_index(data, where=where).manifests if data is not None else ()
        known = {item.digest for item in listed}
        new = [descriptor for descriptor in added if descriptor.digest not in known]
        if data is not None and not new:
            return data
        return ImageIndex(manifests=(*listed, *new)).to_bytes()

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
        read: gets and verifies a document.

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
        yield {
            name: read(layer)
            for name, layer in zip(names, manifest.layers, strict=True)
            if wanted(name)
        }


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
