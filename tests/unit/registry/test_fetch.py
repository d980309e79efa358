import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from ptefoundry.digest import canonical_json, hash_bytes
from ptefoundry.errors import (
    DigestMismatchError,
    DiskFullError,
    RegistryError,
    StoreError,
)
from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.download import WantedBlob
from ptefoundry.registry.fetch import Fetched, fetch_blobs
from ptefoundry.registry.names import blob_key
from ptefoundry.registry.partials import Partial
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.workers import Patience
from support.blobs import make_bytes, put_blob
from support.faulty_store import Fault, FaultyStore, Request, always, nth

CHUNK = 64 << 10
SIZE = 20 * CHUNK + 1234
QUICK = Patience(stall_s=0.2, free_stalls=2, delays_s=(0.0, 0.0, 0.0))


@pytest.fixture(autouse=True)
def _chunks_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptefoundry.registry.chunks.CHUNKED_FROM", 4 * CHUNK)


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def cache(tmp_path: Path) -> BlobCache:
    return BlobCache(tmp_path / "cache")


def put_large(
    store: FaultyStore, seed: int = 0, *, has_prefixes: bool = True
) -> tuple[bytes, WantedBlob]:
    data = make_bytes(SIZE, seed)
    return data, put_blob(store, data, chunk_size=CHUNK, has_prefixes=has_prefixes)


of_both_kinds = pytest.mark.parametrize("has_prefixes", [True, False])


def fetch(store: FaultyStore, cache: BlobCache, *blobs: WantedBlob, threads: int = 4) -> Fetched:
    return fetch_blobs(store, blobs, cache, threads=threads, patience=QUICK)


def content(cache: BlobCache, blob: WantedBlob) -> bytes | None:
    return cache.read(blob.digest, blob.size)


def bytes_of(blob: WantedBlob) -> int:
    return blob.size + (blob.chunks.size if blob.chunks else 0)


@pytest.mark.parametrize("size", [0, 1, CHUNK, 3 * CHUNK, 4 * CHUNK, 4 * CHUNK + 1, SIZE])
@pytest.mark.parametrize("chunk_size", [None, CHUNK])
@pytest.mark.parametrize("threads", [1, 8])
def test_any_size_arrives_whole(
    store: FaultyStore, cache: BlobCache, size: int, chunk_size: int | None, threads: int
) -> None:
    data = make_bytes(size)
    blob = put_blob(store, data, chunk_size=chunk_size)
    fetch(store, cache, blob, threads=threads)
    assert content(cache, blob) == data
    assert list(cache.partials.iterdir()) == []


def test_blobs_are_read_only(store: FaultyStore, cache: BlobCache) -> None:
    blob = put_blob(store, b"text")
    fetch(store, cache, blob)
    assert cache.path(blob.digest).stat().st_mode & 0o777 == 0o444


def test_what_is_there_is_not_fetched_and_one_digest_only_once(
    store: FaultyStore, cache: BlobCache
) -> None:
    (_, large), small = put_large(store), put_blob(store, b"text")
    first = fetch(store, cache, large, small, large, small)
    assert (first.blobs, first.missing) == (2, 2)
    assert first.received == store.sent == bytes_of(large) + small.size
    other = put_blob(store, b"other")
    assert fetch(store, cache, large, small, other).received == other.size


def test_only_an_adapter_moves_when_only_an_adapter_changed(
    store: FaultyStore, cache: BlobCache
) -> None:
    _, foundation = put_large(store)
    fetch(store, cache, foundation, put_blob(store, make_bytes(CHUNK, seed=1)))
    store.requests.clear()
    adapter = put_blob(store, make_bytes(CHUNK, seed=2))
    fetch(store, cache, foundation, adapter)
    assert store.requests == [Request(blob_key(adapter.digest), 0, CHUNK)]


@pytest.mark.parametrize("fault", [Fault.FLIP, Fault.CUT, Fault.SHORT, Fault.LONG, Fault.REFUSE])
@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_one_fault_is_overcome(
    store: FaultyStore, cache: BlobCache, fault: Fault, number: int
) -> None:
    data, large = put_large(store)
    small = put_blob(store, b"text")
    store.choose = nth(fault, number)
    fetch(store, cache, large, small)
    assert len(store.requests) > number
    assert content(cache, large) == data
    assert content(cache, small) == b"text"


@of_both_kinds
def test_flipped_bit_costs_one_chunk_more(
    store: FaultyStore, cache: BlobCache, has_prefixes: bool
) -> None:
    data, large = put_large(store, has_prefixes=has_prefixes)
    store.choose = nth(Fault.FLIP, 2)  # the list comes first
    fetched = fetch(store, cache, large, threads=1)
    assert content(cache, large) == data
    assert bytes_of(large) < fetched.received <= bytes_of(large) + 2 * CHUNK


@pytest.mark.parametrize("large", [True, False])
def test_wrong_bytes_are_named_and_never_in_the_cache(
    store: FaultyStore, cache: BlobCache, large: bool
) -> None:
    blob = put_large(store)[1] if large else put_blob(store, b"text")
    key = blob_key(blob.digest)
    store.choose = lambda _number, request: Fault.FLIP if request.key == key else None
    with pytest.raises(DigestMismatchError, match=rf"memory:{key}: bytes \d+ to \d+ \(chunk "):
        fetch(store, cache, blob)
    assert content(cache, blob) is None


@of_both_kinds
def test_chunk_that_is_wrong_on_the_store_is_named(
    store: FaultyStore, cache: BlobCache, has_prefixes: bool
) -> None:
    data, blob = put_large(store, has_prefixes=has_prefixes)
    key = blob_key(blob.digest)
    store.inner.delete(key)
    store.inner.create(key, data[: 7 * CHUNK] + b"\0" + data[7 * CHUNK + 1 :])
    expected = rf"{key}: bytes {7 * CHUNK} to {8 * CHUNK} \(chunk 7\)"
    with pytest.raises(DigestMismatchError, match=expected):
        fetch(store, cache, blob)
    assert sum(7 * CHUNK in range(one.start, one.end) for one in store.requests) <= 4


@of_both_kinds
def test_chunk_list_of_another_blob_does_not_poison_the_cache(
    store: FaultyStore, cache: BlobCache, has_prefixes: bool
) -> None:
    foundation = put_large(store, has_prefixes=has_prefixes)[1]
    other = put_large(store, seed=1, has_prefixes=has_prefixes)[1]
    bad = WantedBlob(digest=foundation.digest, size=foundation.size, chunks=other.chunks)
    store.inner.delete(blob_key(foundation.digest))
    store.inner.create(blob_key(foundation.digest), make_bytes(SIZE, seed=1))
    with pytest.raises(RegistryError, match="each chunk is right, the whole is not"):
        fetch(store, cache, bad)
    assert content(cache, foundation) is None


@of_both_kinds
def test_each_byte_is_hashed_once_where_the_list_has_prefixes(
    store: FaultyStore, cache: BlobCache, monkeypatch: pytest.MonkeyPatch, has_prefixes: bool
) -> None:
    data, blob = put_large(store, has_prefixes=has_prefixes)
    hashed = list[int]()

    class Counting:
        def __init__(self) -> None:
            self._digest = hashlib.sha256()
            self.hexdigest = self._digest.hexdigest

        def update(self, piece: bytes | memoryview) -> None:
            hashed.append(len(piece))
            self._digest.update(piece)

    for module in ("download", "trail"):
        counting = SimpleNamespace(sha256=Counting)
        monkeypatch.setattr(f"ptefoundry.registry.{module}.hashlib", counting)
    fetch(store, cache, blob)
    assert content(cache, blob) == data
    assert blob.chunks is not None
    assert sum(hashed) == blob.chunks.size + SIZE * (1 if has_prefixes else 2)


@pytest.mark.parametrize("index", [0, 19])
def test_prefixes_that_are_false_do_no_harm(
    store: FaultyStore, cache: BlobCache, index: int
) -> None:
    data, blob = put_large(store)
    assert blob.chunks is not None
    fields = json.loads(store.inner.read(blob_key(blob.chunks.digest), limit=1 << 20)[0])
    fields["prefix_sha256"][index] = "0" * 64
    bad = WantedBlob(digest=blob.digest, size=SIZE, chunks=put_blob(store, canonical_json(fields)))
    fetch(store, cache, bad)
    assert content(cache, blob) == data


def test_missing_blob_is_not_asked_for_again(store: FaultyStore, cache: BlobCache) -> None:
    blob = put_blob(store, b"text")
    store.inner.delete(blob_key(blob.digest))
    with pytest.raises(RegistryError, match=f"{blob_key(blob.digest)}: expected .*found no such"):
        fetch(store, cache, blob)
    assert len(store.requests) == 1


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("known", [True, False])
def test_wrong_size_is_an_error(
    store: FaultyStore, cache: BlobCache, size: int, known: bool
) -> None:
    blob = put_blob(store, b"text")
    if known:
        fetch(store, cache, blob)
    with pytest.raises((StoreError, DigestMismatchError, RegistryError)):
        fetch(store, cache, WantedBlob(digest=blob.digest, size=size))
    assert content(cache, blob) == (b"text" if known else None)


def test_two_sizes_of_one_digest_are_an_error(store: FaultyStore, cache: BlobCache) -> None:
    blob = put_blob(store, b"text")
    with pytest.raises(RegistryError, match="one manifest says 4 bytes, another 5"):
        fetch(store, cache, blob, WantedBlob(digest=blob.digest, size=5))


@pytest.mark.parametrize("large", [True, False])
def test_stalls_are_restarted(store: FaultyStore, cache: BlobCache, large: bool) -> None:
    data = make_bytes(SIZE)
    blob = put_blob(store, data, chunk_size=CHUNK if large else None)
    store.choose = nth(Fault.STALL, 1, 2) if large else nth(Fault.STALL, 0, 1)
    fetch(store, cache, blob)
    store.release()
    assert content(cache, blob) == data


def test_stall_that_never_ends_is_an_error(store: FaultyStore, cache: BlobCache) -> None:
    blob = put_blob(store, b"t")  # stalls before its only byte
    store.choose = always(Fault.STALL)
    with pytest.raises(StoreError, match=r"no bytes for 0\.2 s, 6 times"):
        fetch(store, cache, blob)
    store.release()
    assert len(store.requests) == 1 + QUICK.free_stalls + len(QUICK.delays_s)


class WakingStore(MemoryStore):
    """Its first request stalls until the second has sent a byte, then sends something wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0
        self._wake, self._ended = threading.Event(), threading.Event()

    @contextmanager
    def stream(self, key: str, start: int, end: int) -> Iterator[Iterator[bytes]]:
        self.requests += 1
        if self.requests == 1:
            self._wake.wait()
            try:
                yield iter([b"x" * (end - start)])
            finally:
                self._ended.set()
        else:
            yield self._send(self.read(key, limit=end)[0][start:end])

    def _send(self, data: bytes) -> Iterator[bytes]:
        yield data[:1]
        self._wake.set()
        self._ended.wait()
        yield data[1:]


def test_request_that_was_given_up_changes_nothing_when_it_wakes(cache: BlobCache) -> None:
    store = WakingStore()
    blob = put_blob(store, b"text")
    fetch_blobs(store, [blob], cache, patience=Patience(stall_s=0.5))
    assert content(cache, blob) == b"text"
    assert store.requests == 2


def test_failure_that_lasts_is_raised_and_what_arrived_is_kept(
    store: FaultyStore, cache: BlobCache
) -> None:
    data, large = put_large(store)
    store.choose = lambda number, _request: Fault.REFUSE if number > 2 else None
    with pytest.raises(StoreError, match="refused"):
        fetch(store, cache, large, threads=1)
    assert store.sent > CHUNK
    store.choose = nth(Fault.FLIP)
    fetch(store, cache, large)
    assert content(cache, large) == data
    assert store.sent == bytes_of(large)


def test_a_store_that_does_not_let_us_is_asked_once(store: FaultyStore, cache: BlobCache) -> None:
    blob = put_blob(store, b"text")
    store.choose = always(Fault.FORBID)
    with pytest.raises(StoreError, match="not for you"):
        fetch(store, cache, blob)
    assert len(store.requests) == 1


def test_stream_goes_on_where_it_stopped(store: FaultyStore, cache: BlobCache) -> None:
    data = make_bytes(SIZE)
    blob = put_blob(store, data)
    store.choose = lambda number, _request: Fault.REFUSE if number else Fault.CUT
    with pytest.raises(StoreError, match="refused"):
        fetch(store, cache, blob)
    store.choose = nth(Fault.FLIP)
    store.requests.clear()
    fetch(store, cache, blob)
    assert store.requests == [Request(blob_key(blob.digest), SIZE // 2, SIZE)]
    assert content(cache, blob) == data


@pytest.mark.parametrize("large", [True, False])
def test_bit_flipped_in_what_had_arrived_is_found(
    store: FaultyStore, cache: BlobCache, large: bool
) -> None:
    data = make_bytes(SIZE)
    blob = put_blob(store, data, chunk_size=CHUNK if large else None)
    # A list and two requests for chunks, or half a body.
    store.choose = lambda number, _request: (
        Fault.REFUSE if number > 2 * large else None if large else Fault.CUT
    )
    with pytest.raises(StoreError):
        fetch(store, cache, blob, threads=1)
    (arrived,) = (path for path in cache.partials.iterdir() if not path.suffix)
    flip_byte(arrived, 17)
    store.choose = nth(Fault.FLIP)
    fetch(store, cache, blob)
    assert content(cache, blob) == data


def flip_byte(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


@of_both_kinds
def test_bit_flipped_on_its_way_to_the_disk_is_found(
    store: FaultyStore, cache: BlobCache, monkeypatch: pytest.MonkeyPatch, has_prefixes: bool
) -> None:
    data, large = put_large(store, has_prefixes=has_prefixes)
    write, broken = Partial.write, [5 * CHUNK]

    def write_wrongly(self: Partial, piece: bytes, at: int) -> None:
        if at in broken:
            broken.remove(at)
            piece = bytes([piece[0] ^ 1]) + bytes(piece[1:])
        write(self, piece, at)

    monkeypatch.setattr(Partial, "write", write_wrongly)
    fetched = fetch(store, cache, large)
    assert not broken
    assert content(cache, large) == data
    assert fetched.received == bytes_of(large) + CHUNK


@of_both_kinds
def test_disk_that_damages_everything_is_named(
    store: FaultyStore, cache: BlobCache, monkeypatch: pytest.MonkeyPatch, has_prefixes: bool
) -> None:
    _, large = put_large(store, has_prefixes=has_prefixes)
    fetch(store, cache, *[large.chunks] if large.chunks else [])
    monkeypatch.setattr(Partial, "write", lambda _self, _piece, _at: None)
    with pytest.raises(DigestMismatchError, match="the disk or the memory"):
        fetch(store, cache, large)


@pytest.mark.parametrize("large", [True, False])
def test_full_disk_is_noticed_before_anything_is_fetched(
    store: FaultyStore, cache: BlobCache, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = put_blob(store, make_bytes(SIZE), chunk_size=CHUNK if large else None)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: Usage)
    with pytest.raises(DiskFullError, match=r"2\.0 KiB are missing.*cache prune"):
        fetch(store, cache, blob)
    assert store.requests == []


class Usage:
    free = SIZE - 2048


def test_altered_blob_is_fetched_anew(
    store: FaultyStore, cache: BlobCache, caplog: pytest.LogCaptureFixture
) -> None:
    blob = put_blob(store, b"text")
    fetch(store, cache, blob)
    path = cache.path(blob.digest)
    path.chmod(0o644)
    path.write_bytes(b"best")
    assert fetch(store, cache, blob).missing == 1
    assert content(cache, blob) == b"text"
    assert f"{path}: was altered on the disk" in caplog.text


def test_digest_that_is_none_is_an_error(store: FaultyStore, cache: BlobCache) -> None:
    with pytest.raises(RegistryError, match="expected a digest"):
        fetch(store, cache, WantedBlob(digest=f"sha256:../{hash_bytes(b'')}", size=1))


def test_chunk_list_of_absurd_size_is_refused(store: FaultyStore, cache: BlobCache) -> None:
    _, large = put_large(store)
    absurd = WantedBlob(digest=f"sha256:{hash_bytes(b'')}", size=1 << 40)
    with pytest.raises(RegistryError, match="chunk list of at most"):
        fetch(store, cache, WantedBlob(digest=large.digest, size=large.size, chunks=absurd))
    assert store.requests == []
