"""Compressed copies of large documents, which readers may take in their place.

A version's index has about 1 KB for each variant, most of it the same in all of them, and
so have the signatures of a version. A device that wants one adapter of two hundred would
otherwise fetch more index than adapter. A copy stands under its document's digest and
is verified by it, so nothing depends on it: it may be missing, and how well it was
compressed is of no importance.
"""

import gzip
import zlib
from collections.abc import Iterable
from contextlib import suppress

from ptefoundry.digest import hash_bytes
from ptefoundry.errors import ObjectExistsError, ObjectMissingError, RegistryError
from ptefoundry.registry.content import Blob, read_blob
from ptefoundry.registry.names import COMPRESSED, compressed_key, hex_of, is_digest
from ptefoundry.registry.oci import DOCUMENT_LIMIT, Descriptor
from ptefoundry.registry.store.interface import Store

COMPRESSED_FROM = 32 << 10
"""Bytes above which a document has a compressed copy."""
_GZIP = 31
"""zlib's number for the largest window and a header of gzip (zlib.h, inflateInit2)."""


def keep_compressed(store: Store, data: bytes) -> None:
    """Store a document's compressed copy, if it is large.

    Raises:
        StoreError: the store cannot be reached or refuses.
    """
    if COMPRESSED_FROM < len(data) <= DOCUMENT_LIMIT:
        key = compressed_key(f"sha256:{hash_bytes(data)}")
        # Another zlib may have made other bytes of it, which are as good.
        with suppress(ObjectExistsError):
            store.create(key, gzip.compress(data, mtime=0))


def keep_all_compressed(store: Store, blobs: Iterable[Blob]) -> None:
    """Store compressed copies of the large documents among blobs that a store has.

    Raises:
        StoreError: the store cannot be reached or refuses.
    """
    for blob in blobs:
        if isinstance(blob.content, bytes):
            keep_compressed(store, blob.content)


def compress_documents(store: Store, blobs: Iterable[Descriptor]) -> None:
    """Store those compressed copies that are missing of the large documents among blobs.

    Raises:
        RegistryError: the store lacks a document, or has altered it.
        StoreError: the store cannot be reached or refuses.
    """
    for blob in blobs:
        if (
            blob.media_type.endswith("json")
            and COMPRESSED_FROM < blob.size <= DOCUMENT_LIMIT
            and store.head(compressed_key(blob.digest)) is None
        ):
            keep_compressed(store, read_blob(store, blob))


def read_document(store: Store, descriptor: Descriptor) -> bytes:
    """A document, verified; by its compressed copy where that is worth it and there is one.

    Raises:
        RegistryError: it is missing, too large, or not that of its digest.
    """
    if COMPRESSED_FROM < descriptor.size <= DOCUMENT_LIMIT:
        with suppress(ObjectMissingError, RegistryError):
            return read_compressed(store, descriptor)
    return read_blob(store, descriptor)


def read_compressed(store: Store, descriptor: Descriptor) -> bytes:
    """A document by its compressed copy alone.

    Raises:
        ObjectMissingError: there is none.
        RegistryError: it is not that of the document.
    """
    key = compressed_key(descriptor.digest)
    packed, _ = store.read(key, limit=descriptor.size)
    try:
        # One byte more than there should be, so that no copy unpacks to much more.
        data = zlib.decompressobj(_GZIP).decompress(packed, descriptor.size + 1)
    except zlib.error as error:
        raise RegistryError(f"{store.url}{key}: expected gzip, found {error}") from error
    if len(data) != descriptor.size or hash_bytes(data) != hex_of(descriptor.digest):
        raise RegistryError(
            f"{store.url}{key}: expected {descriptor.size} bytes of {descriptor.digest}, found "
            "others; delete the object, it is a copy"
        )
    return data


def list_compressed(store: Store) -> frozenset[str]:
    """Digests of the documents that have a compressed copy.

    Raises:
        StoreError: the store cannot list.
    """
    names = (info.key.removeprefix(COMPRESSED) for info in store.list(COMPRESSED))
    digests = (f"sha256:{name.removesuffix('.gz')}" for name in names if name.endswith(".gz"))
    return frozenset(digest for digest in digests if is_digest(digest))
