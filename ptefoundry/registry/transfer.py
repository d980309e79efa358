"""Copying blobs from one store to another, verified on the way.

Small ones pass through memory, many at once. Large ones pass through the user's cache, in batches:
received as a pull receives them, by several requests, verified and continued after a
break, and sent as a push sends them. What the cache did not have before is dropped when it
was sent, so a copy of any size takes the room of one batch, or of the largest blob.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ptefoundry.digest import hash_bytes
from ptefoundry.errors import (
    DigestMismatchError,
    ObjectMissingError,
    ObjectTooLargeError,
    RegistryError,
)
from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.content import Blob, find_missing, send_blobs
from ptefoundry.registry.download import WantedBlob
from ptefoundry.registry.fetch import fetch_blobs
from ptefoundry.registry.names import blob_key, hex_of
from ptefoundry.registry.oci import Descriptor
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.prune import drop_unused
from ptefoundry.registry.store.interface import Store
from ptefoundry.report import progress

_SMALL_BYTES = 1 << 20
"""Blobs up to this size pass through memory."""
_BATCH_BYTES = 256 << 20
"""Larger ones are received until they have so many bytes together, then sent."""


def copy_missing(
    source: Store,
    target: Store,
    blobs: Iterable[Descriptor],
    *,
    chunk_lists: Mapping[str, Descriptor],
    cache: BlobCache,
    label: str,
) -> list[Descriptor]:
    """Copy the blobs that a store lacks.

    Args:
        source: where from.
        target: where to.
        blobs: what it should have.
        chunk_lists: those of large blobs, by the digest of the blob.
        cache: through which large blobs go.
        label: of the progress.

    Returns:
        What was copied.

    Raises:
        StoreError: one is there with another size, or a store failed.
        RegistryError: the source lacks one.
        DigestMismatchError: the source sent other bytes than those of its digest.
        DiskFullError: the cache has no room for a large one.
    """
    unique = list({blob.digest: blob for blob in blobs}.values())
    missing = find_missing(target, unique)
    large = [_wanted(blob, chunk_lists) for blob in missing if blob.size > _SMALL_BYTES]
    for batch in _batches(large):
        _copy_large(source, target, batch, cache, label)
    small = [blob for blob in missing if blob.size <= _SMALL_BYTES]
    with progress(label, sum(blob.size for blob in small)) as advance:
        for size in for_each(lambda blob: _copy_small(source, target, blob), small):
            advance(size)
    return missing


def _copy_small(source: Store, target: Store, blob: Descriptor) -> int:
    key = blob_key(blob.digest)
    try:
        data, _ = source.read(key, limit=blob.size)
    except ObjectMissingError as error:
        raise RegistryError(
            f"{source.url}{key}: expected {blob.size} bytes, found no such object; "
            "run `ptefoundry fsck` there"
        ) from error
    except ObjectTooLargeError as error:
        raise DigestMismatchError(
            f"{source.url}{key}: expected {blob.size} bytes of {blob.digest}, found more; run "
            "`ptefoundry fsck` there"
        ) from error
    sha256 = hash_bytes(data)
    if (len(data), sha256) != (blob.size, hex_of(blob.digest)):
        raise DigestMismatchError(
            f"{source.url}{key}: expected {blob.size} bytes of {blob.digest}, "
            f"received {len(data)} of sha256:{sha256}; run `ptefoundry fsck --deep` there"
        )
    target.create(key, data)
    return blob.size


def _copy_large(
    source: Store, target: Store, batch: Sequence[WantedBlob], cache: BlobCache, label: str
) -> None:
    known = {blob.digest for blob in batch if cache.path(blob.digest).exists()}
    with cache.session():
        fetch_blobs(source, batch, cache, label=f"{label}: receiving")
        # Hashed once more while it is sent.
        files = [
            Blob(digest=blob.digest, size=blob.size, content=cache.path(blob.digest))
            for blob in batch
        ]
        send_blobs(target, files, label=f"{label}: sending")
    for blob in batch:
        if blob.digest not in known:
            drop_unused(cache, blob.digest)


def _batches(blobs: Iterable[WantedBlob]) -> Iterator[list[WantedBlob]]:
    batch: list[WantedBlob] = []
    for blob in blobs:
        if batch and sum(one.size for one in batch) + blob.size > _BATCH_BYTES:
            yield batch
            batch = []
        batch.append(blob)
    if batch:
        yield batch


def _wanted(blob: Descriptor, chunk_lists: Mapping[str, Descriptor]) -> WantedBlob:
    chunks = chunk_lists.get(blob.digest)
    return WantedBlob(
        digest=blob.digest,
        size=blob.size,
        chunks=WantedBlob(digest=chunks.digest, size=chunks.size) if chunks else None,
    )
