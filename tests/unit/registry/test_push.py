"""Pushing versions to a store in memory, with many builders and kills."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ptefoundry.errors import ConflictError, StoreError
from ptefoundry.registry.catalog import read_catalog
from ptefoundry.registry.content import Blob, blob_of
from ptefoundry.registry.documents import format_time
from ptefoundry.registry.leases import LEASES
from ptefoundry.registry.names import blob_key, condemned_key, hex_of
from ptefoundry.registry.oci import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    ImageIndex,
    ImageManifest,
    describe_bytes,
)
from ptefoundry.registry.push import NewVersion, Pushed, push_version
from ptefoundry.registry.refs import find_ref, list_refs
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.tombstones import Tombstone, read_tombstone
from support.killing_store import killed_everywhere

NOW = 1_800_000_000.0


def new_version(version: str, *contents: bytes, file: Path | None = None) -> NewVersion:
    """An index with a manifest of these layers."""
    layers = [blob_of(content) for content in contents]
    if file is not None:
        sent = blob_of(file.read_bytes())
        layers.append(Blob(digest=sent.digest, size=sent.size, content=file))
    descriptors = tuple(
        Descriptor(media_type="text/plain", digest=blob.digest, size=blob.size) for blob in layers
    )
    config = blob_of(b"{}")
    manifest = ImageManifest(
        artifact_type="x/y",
        config=Descriptor(media_type="x/y", digest=config.digest, size=config.size),
        layers=descriptors,
    ).to_bytes()
    index = ImageIndex(manifests=(describe_bytes(manifest, MANIFEST_TYPE),)).to_bytes()
    return NewVersion(
        name="assistant",
        version=version,
        index=describe_bytes(index, INDEX_TYPE),
        blobs=(*layers, config, blob_of(manifest), blob_of(index)),
    )


def push(
    store: MemoryStore,
    new: NewVersion,
    attach: Callable[[], None] = lambda: None,
    by: str = "red",
) -> Pushed:
    return push_version(store, new, by=by, clock=lambda: NOW, attach=attach)


def missing(store: MemoryStore, new: NewVersion) -> list[str]:
    return [blob.digest for blob in new.blobs if store.head(blob_key(blob.digest)) is None]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=lambda: NOW)


def test_a_version_is_there_with_all_its_content(store: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "foundation").write_bytes(b"weights")
    new = new_version("1.0.0", b"program", file=tmp_path / "foundation")
    attached = []
    pushed = push(store, new, attach=lambda: attached.append(missing(store, new)))
    assert pushed.is_new
    assert pushed.sent.known == ()
    assert attached == [[]]
    assert find_ref(store, "assistant", "1.0.0").digest == new.index.digest
    assert [str(reference) for reference, _ in read_catalog(store)] == ["assistant@1.0.0"]
    assert list(store.list(LEASES)) == []


def test_what_is_there_is_not_sent_again(store: MemoryStore) -> None:
    push(store, new_version("1.0.0", b"foundation", b"red"))
    again = push(store, new_version("1.0.0", b"foundation", b"red"))
    assert not again.is_new
    assert again.sent.sent == ()
    following = push(store, new_version("1.1.0", b"foundation", b"blue"))
    assert {blob.content for blob in following.sent.known} == {b"foundation", b"{}"}


def test_what_a_store_has_lost_of_a_version_is_sent_again(store: MemoryStore) -> None:
    new = new_version("1.0.0", b"foundation", b"red")
    push(store, new)
    store.delete(blob_key(blob_of(b"red").digest))
    again = push(store, new)
    assert not again.is_new
    assert [blob.content for blob in again.sent.sent] == [b"red"]
    assert missing(store, new) == []


def test_other_content_is_refused_before_anything_is_sent(store: MemoryStore) -> None:
    push(store, new_version("1.0.0", b"red"))
    before = [info.key for info in store.list("")]
    with pytest.raises(ConflictError, match=r"assistant@1\.0\.0.*next number"):
        push(store, new_version("1.0.0", b"blue"))
    assert [info.key for info in store.list("")] == before


def test_twenty_builders_at_once(store: MemoryStore) -> None:
    pushes = [
        new_version(f"1.{number % 5}.0", b"foundation", f"adapter {number // 10}".encode())
        for number in range(20)
    ]

    def attempt(number: int) -> str:
        try:
            pushed = push(store, pushes[number], by=f"builder {number}")
        except ConflictError:
            return "conflict"
        assert missing(store, pushes[number]) == []
        return "won" if pushed.is_new else "same"

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(attempt, range(20)))
    for minor in range(5):
        mine = [
            (result, new)
            for result, new in zip(results, pushes, strict=True)
            if new.version == f"1.{minor}.0"
        ]
        ref = find_ref(store, "assistant", f"1.{minor}.0")
        for result, new in mine:
            assert (result == "conflict") == (new.index.digest != ref.digest)
        assert [result for result, _ in mine].count("won") == 1
    assert len(list_refs(store)) == len(read_catalog(store)) == 5


def test_a_push_may_be_killed_at_any_change_and_run_again() -> None:
    new, kills = new_version("1.0.0", b"foundation", b"red"), 0
    for store in killed_everywhere(lambda store: push(store, new), now=NOW):
        kills += 1
        if list_refs(store):
            assert missing(store, new) == []
        push(store, new)
        assert missing(store, new) == []
        assert [str(reference) for reference, _ in read_catalog(store)] == ["assistant@1.0.0"]
    assert kills > len(new.blobs)


def test_a_condemned_blob_is_rescued(store: MemoryStore) -> None:
    foundation = blob_of(b"foundation")
    store.create(blob_key(foundation.digest), b"foundation")
    note = Tombstone(digest=foundation.digest, state="condemned", time=NOW - 5)
    store.create(condemned_key(foundation.digest), note.to_bytes())
    push(store, new_version("1.0.0", b"foundation"))
    found = read_tombstone(store, foundation.digest)
    assert found is not None
    assert (found.state, found.time) == ("rescued", NOW)


def test_a_blob_that_is_being_deleted_is_not_used(store: MemoryStore) -> None:
    foundation = blob_of(b"foundation")
    store.create(blob_key(foundation.digest), b"foundation")
    note = Tombstone(digest=foundation.digest, state="deleting", time=NOW)
    store.create(condemned_key(foundation.digest), note.to_bytes())
    with pytest.raises(ConflictError, match="push again in a minute"):
        push(store, new_version("1.0.0", b"foundation"))
    assert list_refs(store) == []


def test_a_blob_collected_during_the_push_is_sent_again(store: MemoryStore) -> None:
    store.create(blob_key(blob_of(b"foundation").digest), b"foundation")
    new = new_version("1.0.0", b"foundation", b"red")
    push(store, new, attach=lambda: store.delete(blob_key(blob_of(b"foundation").digest)))
    assert missing(store, new) == []


def test_a_damaged_blob_is_named(store: MemoryStore) -> None:
    digest = blob_of(b"foundation").digest
    store.create(blob_key(digest), b"found")
    with pytest.raises(StoreError, match=f"{hex_of(digest)}: expected 10 bytes, found 5"):
        push(store, new_version("1.0.0", b"foundation"))


def test_content_that_changes_while_it_is_sent_is_refused(
    store: MemoryStore, tmp_path: Path
) -> None:
    path = tmp_path / "foundation"
    path.write_bytes(b"weights")
    new = new_version("1.0.0", file=path)
    path.write_bytes(b"changed")
    with pytest.raises(StoreError, match="expected sha256"):
        push(store, new)
    assert list_refs(store) == []


def test_times_are_written_to_the_second() -> None:
    assert format_time(NOW) == "2027-01-15T08:00:00Z"
