"""Reading blobs to see whether they are what their names, and their chunk lists, say."""

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ptefoundry.errors import RegistryError, StoreError
from ptefoundry.registry.chunks import ChunkList, parse_chunk_list
from ptefoundry.registry.compressed import read_compressed
from ptefoundry.registry.content import read_blob
from ptefoundry.registry.findings import MIRROR, Finding
from ptefoundry.registry.names import blob_key, compressed_key, hex_of
from ptefoundry.registry.oci import Descriptor
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.references import Edge
from ptefoundry.registry.store.interface import Piece, Store
from ptefoundry.report import progress


@dataclass
class Altered:
    """Blobs that are not what they should be."""

    findings: list[Finding] = field(default_factory=list)
    hashed: int = 0
    """Blobs that were read in full."""


def find_altered(
    store: Store,
    sizes: Mapping[bytes, int],
    lists: Mapping[str, Edge],
    *,
    skip: Container[str],
    deep: bool,
) -> Altered:
    """Check chunk lists, and with `deep` every blob.

    Args:
        store: the registry's.
        sizes: bytes of each blob by the 32 bytes of its digest.
        lists: references to chunk lists by the digest of the layer that they are of.
        skip: digests that were found missing or of a wrong size.
        deep: whether to read all blobs.
    """
    altered = Altered()
    parsed: dict[str, ChunkList] = {}
    for layer, edge in lists.items():
        if edge.target.digest in skip:
            continue
        try:
            parsed[layer] = _read_list(store, edge)
        except RegistryError as error:
            altered.findings.append(
                Finding(
                    kind="malformed",
                    key=blob_key(edge.target.digest),
                    problem=str(error),
                    remedy=MIRROR,
                )
            )
    if deep:
        _hash_all(store, sizes, parsed, altered)
    return altered


def check_compressed(
    store: Store, compressed: Iterable[str], sizes: Mapping[bytes, int], *, deep: bool
) -> Iterator[Finding]:
    """Check that compressed copies are of documents, and with `deep` that they are theirs."""
    for digest in compressed:
        size, problem = sizes.get(bytes.fromhex(hex_of(digest))), None
        if size is None:
            problem = f"expected the document {digest} as well, found no such blob"
        elif deep:
            try:
                read_compressed(store, Descriptor(media_type="", digest=digest, size=size))
            except (RegistryError, StoreError) as error:
                problem = str(error)
        if problem is not None:
            yield Finding(
                kind="content",
                key=compressed_key(digest),
                problem=problem,
                remedy="remove it: readers take the document itself then",
                harmless=True,
            )


def is_intact(store: Store, digest: str, size: int) -> bool:
    """Whether a blob of `size` bytes is that of its digest, whatever refers to it says."""
    try:
        return _hash_blob(store, digest, size, None) is None
    except StoreError:
        return False


def _read_list(store: Store, edge: Edge) -> ChunkList:
    assert edge.chunks_of is not None
    where = f"{store.url}{blob_key(edge.target.digest)}"
    return parse_chunk_list(read_blob(store, edge.target), size=edge.chunks_of.size, where=where)


def _hash_all(
    store: Store, sizes: Mapping[bytes, int], lists: Mapping[str, ChunkList], altered: Altered
) -> None:
    def check(item: tuple[bytes, int]) -> tuple[int, Finding | None]:
        digest = f"sha256:{item[0].hex()}"
        try:
            problem = _hash_blob(store, digest, item[1], lists.get(digest))
        except StoreError as error:
            problem = str(error)
        if problem is None:
            return item[1], None
        remedy = f"delete the object, then {MIRROR}"
        return item[1], Finding(
            kind="content", key=blob_key(digest), problem=problem, remedy=remedy
        )

    with progress("reading blobs", sum(sizes.values())) as advance:
        for size, finding in for_each(check, sizes.items()):
            advance(size)
            altered.hashed += 1
            if finding is not None:
                altered.findings.append(finding)


def _hash_blob(store: Store, digest: str, size: int, chunks: ChunkList | None) -> str | None:
    """What is wrong with a blob; None if nothing is."""
    whole, one, at = hashlib.sha256(), hashlib.sha256(), 0
    pieces, prefixes, step = list[str](), list[str](), chunks.chunk_size if chunks else size
    with store.stream(blob_key(digest), 0, size) as arriving:
        for part in _cut(arriving, step):
            whole.update(part)
            at += len(part)
            if chunks is not None:
                one.update(part)
            if at % step == 0 or at == size:
                pieces.append(one.hexdigest())
                prefixes.append(whole.hexdigest())
                one = hashlib.sha256()
    if f"sha256:{whole.hexdigest()}" != digest:
        return f"expected {digest}, found other bytes, sha256:{whole.hexdigest()}"
    if chunks is not None and (
        chunks.sha256 != tuple(pieces) or chunks.prefix_sha256 not in (None, tuple(prefixes))
    ):
        return "expected the digests of its chunk list, found others: the list is not of it"
    return None


def _cut(arriving: Iterable[Piece], step: int) -> Iterator[memoryview]:
    """The pieces of a blob, none across a multiple of `step`."""
    at = 0
    for piece in arriving:
        view = memoryview(piece)
        while view:
            part = view[: step - at % step]
            at += len(part)
            view = view[len(part) :]
            yield part
