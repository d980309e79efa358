"""What refers to which blob: everything that can be reached from versions and channels.

An index refers to manifests, a manifest to its configuration, its layers and their
chunk lists, and what is attached to any of them belongs to it as well.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass

from ptefoundry.errors import ObjectMissingError, RegistryError
from ptefoundry.registry.content import read_blob
from ptefoundry.registry.modelpack import CHUNKS_DIGEST, CHUNKS_SIZE
from ptefoundry.registry.names import REFERRERS, blob_key, is_digest, referrers_key
from ptefoundry.registry.oci import (
    DOCUMENT_LIMIT,
    INDEX_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    parse_index,
    parse_manifest,
)
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.store.interface import Store

CHUNK_LIST_TYPE = "application/vnd.ptefoundry.chunks.v1+json"
"""Media type of chunk lists in `Edge`; stores and manifests do not name it."""
_COUNT = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class Edge:
    """A reference to a blob."""

    target: Descriptor
    owner: str
    """Names what refers to it in messages: a version, a channel, a document's digest."""
    is_document: bool
    """Whether it is an index or a manifest, which refers to more."""
    chunks_of: Descriptor | None = None
    """The layer whose chunk list it is."""


Failed = Callable[[Edge, str, RegistryError], None]
"""Told of a document that cannot be followed, and the key of what is missing, damaged or
malformed: the document itself, or the list of what is attached to it."""


def root_edge(digest: str, size: int, *, owner: str) -> Edge:
    """The reference of a version or channel to an index."""
    return Edge(Descriptor(media_type=INDEX_TYPE, digest=digest, size=size), owner, True)


def raise_failure(_edge: Edge, _key: str, error: RegistryError) -> None:
    """End the walk with the error."""
    raise error


def walk(
    store: Store,
    roots: Iterable[Edge],
    *,
    subjects: Container[str] | None = None,
    failed: Failed = raise_failure,
) -> Iterator[Edge]:
    """All references that can be reached, those from one document to one blob once.

    Documents are read once each, verified, many at once; what they refer to comes after
    them.

    Args:
        store: the registry's.
        roots: where to begin; they are among the results.
        subjects: digests that have a list of what is attached to them; None: asks the
            store for each document.
        failed: called with documents that cannot be followed.
    """
    level = list(roots)
    followed: set[str] = set()
    while level:
        yield from level
        following = []
        for edge in level:
            if edge.is_document and edge.target.digest not in followed:
                followed.add(edge.target.digest)
                following.append(edge)

        def expand(edge: Edge) -> list[Edge]:
            digest, found = edge.target.digest, list[Edge]()
            key = blob_key(digest)
            try:
                found += _children(store, edge)
                key = referrers_key(digest)
                found += _attached(store, digest, subjects)
            except RegistryError as error:
                failed(edge, key, error)
            return found

        level = [child for children in for_each(expand, following) for child in children]


def attached_edges(store: Store, digest: str) -> list[Edge]:
    """References to what is attached to a manifest or index; none if nothing is.

    Raises:
        RegistryError: the list is malformed.
    """
    key = referrers_key(digest)
    try:
        data, _ = store.read(key, limit=DOCUMENT_LIMIT)
    except ObjectMissingError:
        return []
    return _manifest_edges(data, where=f"{store.url}{key}", owner=digest)


def list_subjects(store: Store) -> dict[str, float]:
    """Digests to which something is attached, with the time of the last change.

    Raises:
        RegistryError: there is something else among the lists.
    """
    found = {}
    for info in store.list(REFERRERS):
        digest = f"sha256:{info.key.removeprefix(REFERRERS).removesuffix('.json')}"
        if not is_digest(digest) or referrers_key(digest) != info.key:
            raise RegistryError(f"{store.url}{info.key}: expected <64 hex digits>.json; remove it")
        found[digest] = info.modified
    return found


def _children(store: Store, edge: Edge) -> list[Edge]:
    where = f"{store.url}{blob_key(edge.target.digest)}"
    data = read_blob(store, edge.target)
    if edge.target.media_type == INDEX_TYPE:
        return _manifest_edges(data, where=where, owner=edge.target.digest)
    manifest = parse_manifest(data, where=where)
    edges = []
    for target in (manifest.config, *manifest.layers):
        edges.append(Edge(target, edge.target.digest, is_document=False))
        if CHUNKS_DIGEST in target.annotations:
            edges.append(_chunks_edge(target, owner=edge.target.digest, where=where))
    return edges


def _attached(store: Store, digest: str, subjects: Container[str] | None) -> list[Edge]:
    if subjects is not None and digest not in subjects:
        return []
    return attached_edges(store, digest)


def _manifest_edges(data: bytes, *, where: str, owner: str) -> list[Edge]:
    edges = []
    for target in parse_index(data, where=where).manifests:
        if target.media_type not in {MANIFEST_TYPE, INDEX_TYPE}:
            raise RegistryError(
                f"{where}: manifests: mediaType: expected {MANIFEST_TYPE} or {INDEX_TYPE}, found "
                f"{target.media_type!r:.80}; use a newer ptefoundry"
            )
        edges.append(Edge(target, owner, is_document=True))
    return edges


def _chunks_edge(layer: Descriptor, *, owner: str, where: str) -> Edge:
    digest, size = layer.annotations[CHUNKS_DIGEST], layer.annotations.get(CHUNKS_SIZE, "")
    if not is_digest(digest) or not _COUNT.fullmatch(size):
        raise RegistryError(
            f"{where}: {CHUNKS_DIGEST}: expected a digest and {CHUNKS_SIZE}, found {digest!r:.80} "
            f"and {size!r:.80}"
        )
    target = Descriptor(media_type=CHUNK_LIST_TYPE, digest=digest, size=int(size))
    return Edge(target, owner, is_document=False, chunks_of=layer)
