"""Checking that a version is whole: everything it refers to is there and right."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ptefoundry.errors import StoreError
from ptefoundry.registry.names import blob_key, hex_of
from ptefoundry.registry.parallel import BLOB_THREADS
from ptefoundry.registry.pull import Puller
from ptefoundry.registry.resolve import Resolved
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.version import VariantContent
from ptefoundry.report import progress


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found of a version."""

    blobs: int
    bytes: int
    problems: tuple[str, ...]
    """One line for each blob that is not what it must be."""


def check_version(puller: Puller, resolved: Resolved, *, deep: bool) -> Checked:
    """Check a version from its index down to each blob.

    Args:
        puller: whose policy must be met.
        resolved: the version.
        deep: read every byte and compare digests; else sizes are compared.

    Raises:
        TrustError: the version is not signed as the policy demands.
        RegistryError: index or manifests are malformed or missing.
    """
    contents = puller.read_variants(puller.read_version(resolved).variants)
    puller.verify_files(resolved, contents)
    sizes = dict(_blobs(contents))
    check = _hash if deep else _measure
    with (
        progress(f"verify {resolved}", len(sizes), unit="blobs") as advance,
        ThreadPoolExecutor(BLOB_THREADS) as pool,
    ):
        problems = []
        for problem in pool.map(lambda item: check(puller.store, *item), sizes.items()):
            advance(1)
            problems.append(problem)
    return Checked(
        blobs=len(sizes),
        bytes=sum(sizes.values()),
        problems=tuple(problem for problem in problems if problem is not None),
    )


def _blobs(contents: Iterable[VariantContent]) -> Iterator[tuple[str, int]]:
    for content in contents:
        yield content.config.digest, content.config.size
        for layer in content.layers:
            yield layer.descriptor.digest, layer.descriptor.size
            if layer.chunks is not None:
                yield layer.chunks.digest, layer.chunks.size


def _measure(store: Store, digest: str, size: int) -> str | None:
    found = store.head(blob_key(digest))
    if found is None:
        return f"{digest}: missing"
    return None if found.size == size else f"{digest}: expected {size} bytes, found {found.size}"


def _hash(store: Store, digest: str, size: int) -> str | None:
    if (problem := _measure(store, digest, size)) is not None:
        return problem
    hasher = hashlib.sha256()
    try:
        with store.stream(blob_key(digest), 0, size) as pieces:
            for piece in pieces:
                hasher.update(piece)
    except StoreError as error:
        return f"{digest}: {error}"
    if hasher.hexdigest() != hex_of(digest):
        return f"{digest}: expected that sha256, found {hasher.hexdigest()}"
    return None
