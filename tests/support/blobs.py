"""Blobs for tests of the registry, and stores that hold them."""

import random

from ptefoundry.digest import hash_bytes
from ptefoundry.registry.chunks import ChunkList
from ptefoundry.registry.download import WantedBlob
from ptefoundry.registry.names import blob_key
from ptefoundry.registry.store.interface import Store


def make_bytes(size: int, seed: int = 0) -> bytes:
    """Bytes that look random and are the same each time."""
    return random.Random(seed).randbytes(size)


def put_blob(
    store: Store, data: bytes, *, chunk_size: int | None = None, has_prefixes: bool = True
) -> WantedBlob:
    """Store a blob, with its chunk list if it is to have one."""
    digest = f"sha256:{hash_bytes(data)}"
    store.create(blob_key(digest), data)
    if chunk_size is None:
        return WantedBlob(digest=digest, size=len(data))
    starts = range(0, len(data), chunk_size)
    listed = ChunkList(
        chunk_size,
        tuple(hash_bytes(data[at : at + chunk_size]) for at in starts),
        tuple(hash_bytes(data[: at + chunk_size]) for at in starts) if has_prefixes else None,
    )
    return WantedBlob(digest=digest, size=len(data), chunks=put_blob(store, listed.to_bytes()))
