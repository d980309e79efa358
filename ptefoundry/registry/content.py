"""Content under its digest: sending what a store lacks, reading what it has."""

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ptefoundry.digest import hash_bytes
from ptefoundry.errors import (
    ObjectMissingError,
    ObjectTooLargeError,
    RegistryError,
    StoreError,
)
from ptefoundry.registry.names import blob_key, hex_of
from ptefoundry.registry.oci import DOCUMENT_LIMIT, Descriptor
from ptefoundry.registry.parallel import BLOB_THREADS, for_each
from ptefoundry.registry.store.interface import Store
from ptefoundry.report import progress

_SMALL_BYTES = 16 << 20
"""Bytes of a file up to which a store sends it by one request."""


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Content to send: a file, or bytes where it is small."""

    digest: str
    """`sha256:<hex>`"""
    size: int
    content: Path | bytes


_Sized = TypeVar("_Sized", Blob, Descriptor)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of blobs that a store should have."""

    sent: tuple[Blob, ...]
    known: tuple[Blob, ...]
    """Those that were there already."""


def blob_of(data: bytes) -> Blob:
    """A small blob."""
    return Blob(digest=f"sha256:{hash_bytes(data)}", size=len(data), content=data)


def send_blobs(store: Store, blobs: Iterable[Blob], *, label: str) -> Sent:
    """Send the blobs that a store lacks.

    Large files go one after the other, as a store sends each by several requests, then
    the small ones at once.

    Raises:
        StoreError: one could not be sent, or is there with another size. What was sent
            stays, and is not sent again by the next try.
    """
    unique = list({blob.digest: blob for blob in blobs}.values())
    lacking = {blob.digest for blob in find_missing(store, unique)}
    sent = [blob for blob in unique if blob.digest in lacking]
    large = [blob for blob in sent if blob.size > _SMALL_BYTES]
    small = [blob for blob in sent if blob.size <= _SMALL_BYTES]
    lock = threading.Lock()
    with progress(label, sum(blob.size for blob in sent)) as advance:

        def count(number: int) -> None:
            with lock:
                advance(number)

        def send(blob: Blob) -> None:
            key = blob_key(blob.digest)
            if isinstance(blob.content, bytes):
                store.create(key, blob.content)
                count(blob.size)
            else:
                store.upload(key, blob.content, sha256=hex_of(blob.digest), advance=count)

        for blob in sorted(large, key=lambda blob: -blob.size):
            send(blob)
        with ThreadPoolExecutor(BLOB_THREADS) as pool:
            list(pool.map(send, small))
    known = tuple(blob for blob in unique if blob.digest not in lacking)
    return Sent(sent=tuple(sent), known=known)


def find_missing(store: Store, blobs: Sequence[_Sized]) -> list[_Sized]:
    """The blobs that a store lacks.

    Raises:
        StoreError: one is there with another size.
    """

    def is_there(blob: _Sized) -> bool:
        found = store.head(blob_key(blob.digest))
        if found is not None and found.size != blob.size:
            raise StoreError(
                f"{store.url}{found.key}: expected {blob.size} bytes, found {found.size}; the "
                "store has damaged it: delete the object and run this again"
            )
        return found is not None

    there = for_each(is_there, blobs)
    return [blob for blob, is_known in zip(blobs, there, strict=True) if not is_known]


def read_blob(store: Store, descriptor: Descriptor) -> bytes:
    """A small blob, verified.

    Raises:
        RegistryError: it is missing, too large for a document, or not that of its digest.
    """
    key = blob_key(descriptor.digest)
    if descriptor.size > DOCUMENT_LIMIT:
        raise RegistryError(
            f"{store.url}{key}: expected at most {DOCUMENT_LIMIT} bytes, found {descriptor.size}"
        )
    try:
        data, _ = store.read(key, limit=descriptor.size)
    except ObjectMissingError as error:
        raise RegistryError(
            f"{store.url}{key}: expected {descriptor.digest}, found no such object; run "
            "`ptefoundry fsck`"
        ) from error
    except ObjectTooLargeError as error:
        raise RegistryError(
            f"{store.url}{key}: expected {descriptor.size} bytes of {descriptor.digest}, found "
            "more; it was altered, or what refers to it says a wrong size: run `ptefoundry fsck`"
        ) from error
    if len(data) != descriptor.size or hash_bytes(data) != hex_of(descriptor.digest):
        raise RegistryError(
            f"{store.url}{key}: expected {descriptor.size} bytes of {descriptor.digest}, found "
            "others; the store or the way to it has altered them: run `ptefoundry fsck`"
        )
    return data
