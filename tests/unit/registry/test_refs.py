"""Versions, yanks and the catalog on a store in memory."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ptefoundry.errors import ConflictError, ObjectMissingError, RegistryError
from ptefoundry.registry.catalog import add_to_catalog, drop_from_catalog, read_catalog
from ptefoundry.registry.documents import parse_time
from ptefoundry.registry.names import INDEX_KEY, ref_key, yank_key
from ptefoundry.registry.refs import (
    VersionRef,
    create_ref,
    find_ref,
    list_refs,
    remove_ref,
    restore_ref,
)
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.yanks import Yank, check_usable, find_yank, unyank, yank

DIGEST, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
TIME = "2026-11-22T08:00:00Z"
REF = VersionRef(name="assistant", version="1.0.0", digest=DIGEST, size=3, time=TIME, by="red")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_a_version_is_created_once(store: MemoryStore) -> None:
    assert create_ref(store, REF) == REF
    again = replace(REF, time="2026-11-23T08:00:00Z", by="blue")
    assert create_ref(store, again) == REF
    with pytest.raises(ConflictError, match=r"assistant@1\.0\.0: .*pushed by red .*next number"):
        create_ref(store, replace(REF, digest=OTHER))
    assert find_ref(store, "assistant", "1.0.0") == REF


def test_one_of_many_wins(store: MemoryStore) -> None:
    def create(number: int) -> str | None:
        try:
            create_ref(store, replace(REF, digest=f"sha256:{number:064}"))
        except ConflictError:
            return None
        return f"sha256:{number:064}"

    with ThreadPoolExecutor(20) as pool:
        won = [digest for digest in pool.map(create, range(20)) if digest is not None]
    assert won == [find_ref(store, "assistant", "1.0.0").digest]


def test_a_removed_version_keeps_its_name(store: MemoryStore) -> None:
    create_ref(store, REF)
    remove_ref(store, REF, clock=lambda: parse_time(TIME, where=""))
    assert find_ref(store, "assistant", "1.0.0").removed == TIME
    with pytest.raises(ConflictError, match=r"removed on .*next number"):
        create_ref(store, REF)
    with pytest.raises(RegistryError, match="removed on"):
        check_usable(store, "assistant", "1.0.0")
    restore_ref(store, REF)
    assert find_ref(store, "assistant", "1.0.0") == REF


def test_versions_are_listed_in_order(store: MemoryStore) -> None:
    refs = [
        replace(REF, name=name, version=version)
        for name in ("a", "b")
        for version in ("1.9.0", "1.10.0-rc.1", "1.10.0")
    ]
    for ref in reversed(refs):
        create_ref(store, ref)
    assert list_refs(store) == refs
    assert list_refs(store, "b") == refs[3:]
    assert list_refs(store, "c") == []


@pytest.mark.parametrize(
    "key", ["refs/a/1.json", "refs/a.json", "refs/A/1.0.0.json", "refs/x/1.0.0"]
)
def test_foreign_objects_among_versions_are_named(store: MemoryStore, key: str) -> None:
    store.create(key, b"{}")
    with pytest.raises(RegistryError, match=f"{key}: expected"):
        list_refs(store)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"format":1', b'"format":2'),
        (b"assistant", b"other"),
        (b"1.0.0", b"1.0.1"),
        (b"sha256:1", b"sha256:x"),
        (b'"size":3', b'"size":-3'),
        (b'"size":3', b'"size":true'),
        (b'"by":"red"', b'"by":"r\\u001bed"'),
        (b"08:00:00Z", b"25:00:00Z"),
        (b"}", b""),
    ],
)
def test_altered_versions_are_refused(store: MemoryStore, old: bytes, new: bytes) -> None:
    data = REF.to_bytes()
    assert old in data
    store.create(ref_key("assistant", "1.0.0"), data.replace(old, new))
    with pytest.raises(RegistryError, match=r"refs/assistant/1\.0\.0\.json"):
        find_ref(store, "assistant", "1.0.0")


def test_yanked_versions_say_why(store: MemoryStore) -> None:
    note = Yank(name="assistant", version="1.0.0", reason="wrong tokenizer", time=TIME, by="red")
    with pytest.raises(RegistryError, match="found none"):
        yank(store, note)
    create_ref(store, REF)
    check_usable(store, "assistant", "1.0.0")
    yank(store, note)
    assert find_yank(store, "assistant", "1.0.0") == note
    with pytest.raises(RegistryError, match=r"yanked on .* by red: wrong tokenizer"):
        check_usable(store, "assistant", "1.0.0")
    yank(store, replace(note, reason="crashes"))
    assert find_yank(store, "assistant", "1.0.0") == replace(note, reason="crashes")
    unyank(store, "assistant", "1.0.0")
    check_usable(store, "assistant", "1.0.0")
    with pytest.raises(ObjectMissingError):
        store.read(yank_key("assistant", "1.0.0"), limit=99)


def test_the_catalog_survives_many_writers(store: MemoryStore) -> None:
    refs = [replace(REF, version=f"1.0.{number}") for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda ref: add_to_catalog(store, ref), refs))
    listed = {str(reference): descriptor.digest for reference, descriptor in read_catalog(store)}
    assert listed == {str(ref): DIGEST for ref in refs}
    before = store.head(INDEX_KEY)
    add_to_catalog(store, refs[3])
    assert store.head(INDEX_KEY) == before
    drop_from_catalog(store, refs[:19])
    assert [str(reference) for reference, _ in read_catalog(store)] == ["assistant@1.0.19"]


def test_a_catalog_without_names_is_refused(store: MemoryStore) -> None:
    with pytest.raises(RegistryError, match="registry init"):
        read_catalog(store)
    add_to_catalog(store, REF)
    data, token = store.read(INDEX_KEY, limit=1 << 20)
    store.replace(INDEX_KEY, data.replace(b"assistant@1.0.0", b"../1.0.0"), token)
    with pytest.raises(RegistryError, match=r"index\.json: expected a"):
        read_catalog(store)
