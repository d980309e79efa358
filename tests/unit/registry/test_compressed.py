"""Compressed copies of large documents: when there are any, and how they go."""

import gzip

import pytest

from ptefoundry.errors import ObjectMissingError, RegistryError
from ptefoundry.registry.compressed import (
    COMPRESSED_FROM,
    compress_documents,
    keep_compressed,
    list_compressed,
    read_compressed,
    read_document,
)
from ptefoundry.registry.content import blob_of
from ptefoundry.registry.fsck import check_registry
from ptefoundry.registry.gc import collect
from ptefoundry.registry.names import blob_key, compressed_key
from ptefoundry.registry.oci import INDEX_TYPE, Descriptor
from ptefoundry.registry.store.memory import MemoryStore
from support.golden_registry import make_registry

LARGE = b"1" * (COMPRESSED_FROM + 1)
DIGEST = blob_of(LARGE).digest
DESCRIPTOR = Descriptor(media_type=INDEX_TYPE, digest=DIGEST, size=len(LARGE))
DAY = 86400.0


@pytest.fixture
def store() -> MemoryStore:
    store = make_registry()
    store.create(blob_key(DIGEST), LARGE)
    keep_compressed(store, LARGE)
    return store


def overwrite(store: MemoryStore, data: bytes) -> None:
    store.delete(compressed_key(DIGEST))
    store.create(compressed_key(DIGEST), data)


def test_only_what_is_large_has_a_copy(store: MemoryStore) -> None:
    keep_compressed(store, LARGE[:-1])
    assert list_compressed(store) == {DIGEST}


def test_the_copy_is_read_in_place_of_the_document(store: MemoryStore) -> None:
    store.delete(blob_key(DIGEST))
    assert read_document(store, DESCRIPTOR) == LARGE


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"no gzip",
        gzip.compress(LARGE)[:-20],
        gzip.compress(LARGE[:-1]),
        gzip.compress(LARGE + b"1"),
        gzip.compress(b"2" + LARGE[1:]),
        gzip.compress(bytes(1 << 24)),
    ],
    # The bytes have the time in them, and names of tests must be the same in all workers.
    ids=("empty", "no gzip", "cut", "shorter", "longer", "other", "large"),
)
def test_a_wrong_copy_is_refused_and_done_without(store: MemoryStore, wrong: bytes) -> None:
    overwrite(store, wrong)
    with pytest.raises(RegistryError):
        read_compressed(store, DESCRIPTOR)
    assert read_document(store, DESCRIPTOR) == LARGE
    deep = [one for one in check_registry(store, deep=True).findings if one.kind == "content"]
    assert [(one.key, one.harmless) for one in deep] == [(compressed_key(DIGEST), True)]


def test_a_copy_of_nothing_is_found(store: MemoryStore) -> None:
    assert check_registry(store, deep=True).findings == []
    store.delete(blob_key(DIGEST))
    (finding,) = check_registry(store, deep=False).findings
    assert (finding.key, finding.harmless) == (compressed_key(DIGEST), True)


def test_a_missing_copy_is_made_of_the_document(store: MemoryStore) -> None:
    store.delete(compressed_key(DIGEST))
    with pytest.raises(ObjectMissingError):
        read_compressed(store, DESCRIPTOR)
    other = Descriptor(media_type="application/octet-stream", digest=DIGEST, size=len(LARGE))
    compress_documents(store, [other])
    assert list_compressed(store) == set()
    compress_documents(store, [DESCRIPTOR])
    assert read_compressed(store, DESCRIPTOR) == LARGE


def test_another_compression_is_as_good(store: MemoryStore) -> None:
    overwrite(store, gzip.compress(LARGE, compresslevel=1, mtime=0))
    keep_compressed(store, LARGE)
    assert read_compressed(store, DESCRIPTOR) == LARGE


def test_a_copy_goes_with_its_document(store: MemoryStore) -> None:
    begin = max(info.modified for info in store.list(""))
    for day in (1.0, 2.0, 3.0):
        collect(store, keep=None, grace_s=3600.0 * 3, clock=lambda day=day: begin + day * DAY)
        if day == 1.0:
            assert list_compressed(store) == {DIGEST}
    assert store.head(blob_key(DIGEST)) is None
    assert list_compressed(store) == set()
