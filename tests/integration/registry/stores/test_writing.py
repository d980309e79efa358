"""What every store does for whoever writes, alone and at the same time as others."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ptefoundry.errors import (
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
    StoreError,
)
from ptefoundry.registry.names import blob_key
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.store.probe import Capabilities, adapt, probe
from support.sides import BAD_KEYS

KEY = "channels/name/stable.json"
WRITERS = 30


def at_once(write: Callable[[int], object], refusal: type[StoreError]) -> list[int]:
    """The numbers of those writers that succeeded."""
    barrier = threading.Barrier(WRITERS)

    def attempt(number: int) -> bool:
        barrier.wait()
        try:
            write(number)
        except refusal:
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        return [number for number, won in enumerate(pool.map(attempt, range(WRITERS))) if won]


def written(folder: Path, data: bytes) -> tuple[str, str, Path]:
    """(key, digest, path) of a file with these bytes."""
    digest = hashlib.sha256(data).hexdigest()
    path = folder / digest
    path.write_bytes(data)
    return blob_key(f"sha256:{digest}"), digest, path


def test_create_once(store: Store) -> None:
    token = store.create(KEY, b"one")

    assert store.create(KEY, b"one") == token
    for other in (b"two", b"", b"longer than it"):
        with pytest.raises(ObjectExistsError, match=KEY):
            store.create(KEY, other)
    assert store.read(KEY, limit=9) == (b"one", token)


def test_replace_what_is_known(store: Store) -> None:
    first = store.create(KEY, b"one")
    second = store.replace(KEY, b"two", first)

    assert second != first
    assert store.read(KEY, limit=9) == (b"two", second)
    for token in (first, "", "*", "unknown", '"unknown"'):
        with pytest.raises(ObjectChangedError, match=KEY):
            store.replace(KEY, b"three", token)
    assert store.replace(KEY, b"", second)
    assert store.read(KEY, limit=9)[0] == b""


def test_replace_what_is_gone(store: Store) -> None:
    token = store.create(KEY, b"one")
    store.delete(KEY)

    for _ in range(2):
        with pytest.raises(ObjectChangedError):
            store.replace(KEY, b"two", token)
    assert store.head(KEY) is None


def test_delete(store: Store) -> None:
    store.create(KEY, b"one")

    store.delete(KEY)
    store.delete(KEY)

    assert store.head(KEY) is None
    with pytest.raises(ObjectMissingError):
        store.read(KEY, limit=9)
    store.create(KEY, b"two")
    assert store.read(KEY, limit=9)[0] == b"two"


def test_list_is_ordered_and_by_prefix(store: Store) -> None:
    keys = ["a/b.json", "a/b/1.json", "a/b/2.json", "a/b-c.json", "ab.json", "B.json"]
    for key in keys:
        store.create(key, key.encode())

    found = list(store.list(""))
    assert [info.key for info in found] == sorted(keys)
    assert found == [store.head(key) for key in sorted(keys)]
    assert [info.key for info in store.list("a/b")] == sorted(k for k in keys if k[:3] == "a/b")
    assert [info.key for info in store.list("a/b/")] == ["a/b/1.json", "a/b/2.json"]
    assert list(store.list("c/")) == []


def test_list_of_more_than_one_page(store: Store) -> None:
    keys = [f"refs/name/{number}.json" for number in range(1005)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: store.create(key, b"{}"), keys))

    assert [info.key for info in store.list("refs/")] == sorted(keys)


@pytest.mark.parametrize("key", BAD_KEYS)
def test_bad_keys_are_not_written(store: Store, key: str, tmp_path: Path) -> None:
    uses: list[Callable[[], object]] = [
        lambda: store.create(key, b""),
        lambda: store.replace(key, b"", "token"),
        lambda: store.delete(key),
        lambda: store.upload(key, Path(__file__), sha256="", advance=lambda _: None),
    ]
    for use in uses:
        with pytest.raises(StoreError, match="expected a key"):
            use()
    if key and not key.endswith("/"):
        with pytest.raises(StoreError, match="expected the beginning of a key"):
            list(store.list(key))


def test_one_of_many_creates(store: Store) -> None:
    for turn in range(3):
        key = f"refs/name/{turn}.0.0.json"

        won = at_once(lambda number, key=key: store.create(key, b"%d" % number), ObjectExistsError)

        assert len(won) == 1
        assert store.read(key, limit=9)[0] == b"%d" % won[0]


def test_the_same_content_is_a_success_for_all(store: Store) -> None:
    won = at_once(lambda _: store.create(KEY, b"same"), ObjectExistsError)

    assert len(won) == WRITERS


def test_one_of_many_replaces(store: Store) -> None:
    token = store.create(KEY, b"start")
    for _ in range(3):

        def replace(number: int, token: str = token) -> None:
            store.replace(KEY, b"%s %d" % (token.encode(), number), token)

        won = at_once(replace, ObjectChangedError)

        assert len(won) == 1
        data, new = store.read(KEY, limit=200)
        assert data == b"%s %d" % (token.encode(), won[0])
        token = new


def test_no_increment_is_lost(store: Store) -> None:
    store.create(KEY, b"0 by nobody")

    def increment(worker: int) -> None:
        # Every writer's bytes are its own, as the contract wants.
        while True:
            data, token = store.read(KEY, limit=40)
            try:
                store.replace(KEY, b"%d by %d" % (int(data.split()[0]) + 1, worker), token)
            except ObjectChangedError:
                continue
            return

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(increment, range(30)))
    assert store.read(KEY, limit=40)[0].startswith(b"30 by")


def test_readers_never_see_a_part(store: Store) -> None:
    contents = {bytes([letter]) * 50_000 for letter in b"abcd"}
    token = store.create(KEY, b"a" * 50_000)
    done = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(store.read(KEY, limit=50_000)[0])

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        for turn in range(40):
            token = store.replace(KEY, bytes([b"abcd"[turn % 4]]) * 50_000, token)
        done.set()
        for reader in readers:
            reader.result()
    assert seen <= contents


@pytest.mark.parametrize("size", [0, 1, 300_000, (17 << 20) + 3])
def test_upload(store: Store, tmp_path: Path, size: int) -> None:
    key, digest, path = written(tmp_path, bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    moved: list[int] = []

    for times in (1, 2):
        store.upload(key, path, sha256=digest, advance=moved.append)
        assert sum(moved) == size * times

    found = store.head(key)
    assert found is not None
    assert found.size == size
    received = hashlib.sha256()
    with store.stream(key, 0, size) as pieces:
        for piece in pieces:
            received.update(piece)
    assert received.hexdigest() == digest


@pytest.mark.parametrize("size", [10, (17 << 20) + 3])
def test_a_file_of_other_bytes_is_not_stored(store: Store, tmp_path: Path, size: int) -> None:
    key, digest, path = written(tmp_path, b"a" * size)
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"b")

    with pytest.raises(StoreError, match=f"{path}: expected sha256 {digest}"):
        store.upload(key, path, sha256=digest, advance=lambda _: None)

    assert store.head(key) is None
    assert list(store.list("")) == []


def test_what_is_there_with_another_size_is_reported(store: Store, tmp_path: Path) -> None:
    key, digest, path = written(tmp_path, b"a" * 100)
    store.create(key, b"a" * 99)

    with pytest.raises(StoreError, match="expected 100 bytes, the store has 99"):
        store.upload(key, path, sha256=digest, advance=lambda _: None)


def test_many_upload_the_same_file(store: Store, tmp_path: Path) -> None:
    key, digest, path = written(tmp_path, b"a" * 1_000_000)

    won = at_once(
        lambda _: store.upload(key, path, sha256=digest, advance=lambda _: None), StoreError
    )

    assert len(won) == WRITERS
    assert [info.key for info in store.list("")] == [key]


def test_uploading_does_not_touch_the_file(store: Store, tmp_path: Path) -> None:
    key, digest, path = written(tmp_path, b"a" * 1000)
    before = path.stat()

    store.upload(key, path, sha256=digest, advance=lambda _: None)
    path.write_bytes(b"b" * 1000)

    assert path.stat().st_mode == before.st_mode
    assert path.stat().st_nlink == 1
    assert store.read(key, limit=1000)[0] == b"a" * 1000


def test_the_probe_finds_a_store_that_can_hold_a_registry(store: Store) -> None:
    found = probe(store)

    assert found == Capabilities(**dict.fromkeys(found.to_dict(), True))
    found.check(label=store.url)
    adapt(store, found)
    assert list(store.list("")) == []
