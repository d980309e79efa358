"""Copying blobs from one store to another, verified on the way."""

import hashlib
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ptefoundry.digest import hash_bytes
from ptefoundry.errors import DigestMismatchError, ObjectMissingError, RegistryError
from ptefoundry.registry.content import find_missing
from ptefoundry.registry.names import blob_key, hex_of
from ptefoundry.registry.oci import Descriptor
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.store.interface import Store
from ptefoundry.report import progress

_SMALL_BYTES = 1 << 20
"""Blobs up to this size pass through memory, many at once; others through a file each."""


def copy_missing(
    source: Store, target: Store, blobs: Iterable[Descriptor], *, label: str
) -> list[Descriptor]:
    """Copy the blobs that a store lacks.

    Returns:
        What was copied.

    Raises:
        StoreError: one is there with another size, or a store failed.
        RegistryError: the source lacks one.
        DigestMismatchError: the source sent other bytes than those of its digest.
    """
    unique = list({blob.digest: blob for blob in blobs}.values())
    missing = find_missing(target, unique)
    small = [blob for blob in missing if blob.size <= _SMALL_BYTES]
    with progress(label, sum(blob.size for blob in missing)) as advance:
        for size in for_each(lambda blob: _copy_small(source, target, blob), small):
            advance(size)
        for blob in missing:
            if blob.size > _SMALL_BYTES:
                _copy_large(source, target, blob)
                advance(blob.size)
    return missing


def _copy_small(source: Store, target: Store, blob: Descriptor) -> int:
    key = blob_key(blob.digest)
    try:
        data, _ = source.read(key, limit=blob.size)
    except ObjectMissingError as error:
        raise _missing(source, blob) from error
    _check(source, blob, len(data), hash_bytes(data))
    target.create(key, data)
    return blob.size


def _copy_large(source: Store, target: Store, blob: Descriptor) -> None:
    key, digest, size = blob_key(blob.digest), hashlib.sha256(), 0
    with tempfile.TemporaryDirectory(prefix="ptefoundry-") as folder:
        path = Path(folder) / "blob"
        try:
            with source.stream(key, 0, blob.size) as pieces, path.open("wb") as file:
                for piece in pieces:
                    digest.update(piece)
                    size += file.write(piece)
        except ObjectMissingError as error:
            raise _missing(source, blob) from error
        _check(source, blob, size, digest.hexdigest())
        target.upload(key, path, sha256=hex_of(blob.digest), advance=lambda _count: None)


def _check(source: Store, blob: Descriptor, size: int, sha256: str) -> None:
    if (size, sha256) != (blob.size, hex_of(blob.digest)):
        raise DigestMismatchError(
            f"{source.url}{blob_key(blob.digest)}: expected {blob.size} bytes of {blob.digest}, "
            f"received {size} of sha256:{sha256}; run `ptefoundry fsck --deep` there"
        )


def _missing(source: Store, blob: Descriptor) -> RegistryError:
    return RegistryError(
        f"{source.url}{blob_key(blob.digest)}: expected {blob.size} bytes, found no such object; "
        "run `ptefoundry fsck` there"
    )
