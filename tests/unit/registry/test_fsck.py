"""Checking registries: a sound one, and one fault of each kind."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from ptefoundry.digest import canonical_json, hash_bytes
from ptefoundry.registry.catalog import read_catalog
from ptefoundry.registry.channels import Channel
from ptefoundry.registry.chunks import ChunkList
from ptefoundry.registry.content import read_blob
from ptefoundry.registry.findings import Finding, Report
from ptefoundry.registry.fsck import check_registry
from ptefoundry.registry.fsck_content import _hash_blob, find_altered
from ptefoundry.registry.gc import collect
from ptefoundry.registry.names import (
    BLOBS,
    CHANNEL_LIST_KEY,
    INDEX_KEY,
    REFS,
    blob_key,
    channel_key,
    condemned_key,
    record_key,
    ref_key,
    referrers_key,
    yank_key,
)
from ptefoundry.registry.oci import (
    DOCUMENT_LIMIT,
    INDEX_TYPE,
    Descriptor,
    describe_bytes,
    parse_index,
)
from ptefoundry.registry.references import CHUNK_LIST_TYPE, Edge
from ptefoundry.registry.referrers import list_referrers
from ptefoundry.registry.refs import find_ref, remove_ref
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.tombstones import Tombstone
from ptefoundry.registry.trust.keys import Signer, generate_signer
from ptefoundry.registry.trust.policy import TrustedKey, TrustPolicy
from support.blobs import make_bytes, put_blob
from support.golden_registry import BEGIN, DAY, golden_signer, make_registry
from support.packed import NAME

NOW = 1_800_000_000.0


@pytest.fixture
def store() -> MemoryStore:
    return make_registry()


def overwrite(store: MemoryStore, key: str, data: bytes) -> None:
    store.delete(key)
    store.create(key, data)


def only(report: Report) -> Finding:
    assert len(report.findings) == 1, report.findings
    return report.findings[0]


def a_layer(store: MemoryStore) -> str:
    """Key of the largest blob, which is no document."""
    return max(store.list(BLOBS), key=lambda info: info.size).key


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_registry(store: MemoryStore, deep: bool) -> None:
    before = {info.key: info.token for info in store.list("")}
    report = check_registry(store, deep=deep, repair=True)
    assert report.is_sound
    assert (report.findings, report.versions, report.channels) == ([], 2, 2)
    assert report.blobs == len(list(store.list(BLOBS)))
    assert report.hashed == (report.blobs if deep else 0)
    assert report.unreferenced == 0
    assert {info.key: info.token for info in store.list("")} == before


def test_missing_blobs_are_named(store: MemoryStore) -> None:
    key = a_layer(store)
    store.delete(key)
    finding = only(check_registry(store))
    assert (finding.kind, finding.key) == ("missing", key)
    assert "ptefoundry mirror" in finding.remedy


def test_a_missing_index_is_named_once(store: MemoryStore) -> None:
    key = blob_key(find_ref(store, NAME, "1.1.0").digest)
    store.delete(key)
    finding = only(check_registry(store))
    assert (finding.kind, finding.key) == ("missing", key)
    assert f"{NAME}@1.1.0 refers to it" in finding.problem


def test_short_blobs_are_named(store: MemoryStore) -> None:
    key = a_layer(store)
    overwrite(store, key, b"short")
    finding = only(check_registry(store))
    assert (finding.kind, finding.key) == ("size", key)


def test_flipped_bits_are_found_by_a_deep_check(store: MemoryStore) -> None:
    key = a_layer(store)
    data, _ = store.read(key, limit=1 << 24)
    overwrite(store, key, bytes([data[0] ^ 1]) + data[1:])
    assert check_registry(store).is_sound
    report = check_registry(store, deep=True)
    assert not report.is_sound
    finding = only(report)
    assert (finding.kind, finding.key) == ("content", key)


def test_flipped_bits_of_documents_are_found_at_once(store: MemoryStore) -> None:
    key = blob_key(find_ref(store, NAME, "1.1.0").digest)
    data, _ = store.read(key, limit=1 << 24)
    overwrite(store, key, data.replace(b"1.1.0", b"1.2.0"))
    finding = only(check_registry(store))
    assert (finding.kind, finding.key) == ("malformed", key)


def test_the_catalog_is_compared_and_written_anew(store: MemoryStore) -> None:
    before, _ = store.read(INDEX_KEY, limit=1 << 20)
    overwrite(store, INDEX_KEY, before.replace(b"@1.1.0", b"@1.7.0"))
    finding = only(check_registry(store))
    assert finding.kind == "catalog"
    assert f"{NAME}@1.1.0, {NAME}@1.7.0" in finding.problem
    report = check_registry(store, repair=True)
    assert report.is_sound
    assert only(report).repaired
    assert store.read(INDEX_KEY, limit=1 << 20)[0] == before
    overwrite(store, INDEX_KEY, b"nonsense")
    assert check_registry(store, repair=True).is_sound
    assert len(read_catalog(store)) == 2


def test_a_pointer_that_was_left_behind_is_moved_on(store: MemoryStore) -> None:
    key = channel_key(NAME, "stable")
    newest, _ = store.read(key, limit=1 << 20)
    overwrite(store, key, store.read(record_key(NAME, "stable", 1), limit=1 << 20)[0])
    assert only(check_registry(store)).kind == "pointer"
    assert check_registry(store, repair=True).is_sound
    assert store.read(key, limit=1 << 20)[0] == newest
    assert check_registry(store).findings == []


def test_the_list_of_channels_is_compared_and_written_anew(store: MemoryStore) -> None:
    before, _ = store.read(CHANNEL_LIST_KEY, limit=1 << 20)
    overwrite(store, CHANNEL_LIST_KEY, before.replace(b'"beta"', b'"nightly"'))
    finding = only(check_registry(store))
    assert (finding.kind, finding.harmless) == ("catalog", False)
    assert f"{NAME}:beta, {NAME}:nightly" in finding.problem
    assert check_registry(store, repair=True).is_sound
    assert store.read(CHANNEL_LIST_KEY, limit=1 << 20)[0] == before
    overwrite(store, CHANNEL_LIST_KEY, b"nonsense")
    assert check_registry(store, repair=True).is_sound
    assert store.read(CHANNEL_LIST_KEY, limit=1 << 20)[0] == before


def test_a_catalog_that_cannot_be_written_anew_is_said(store: MemoryStore) -> None:
    overwrite(store, INDEX_KEY, b" " * (DOCUMENT_LIMIT + 1))
    overwrite(store, ref_key(NAME, "1.0.0"), b"{")
    report = check_registry(store, repair=True)
    found = {finding.key: finding for finding in report.findings}
    assert not found[INDEX_KEY].repaired
    assert "it cannot be written anew" in found[INDEX_KEY].problem
    assert "delete it" in found[INDEX_KEY].remedy
    assert found[ref_key(NAME, "1.0.0")].kind == "malformed"


def manifest_key(store: MemoryStore) -> str:
    index = parse_index(read_blob(store, index_of(store, "1.1.0")), where="index")
    return blob_key(index.manifests[0].digest)


def index_of(store: MemoryStore, version: str) -> Descriptor:
    ref = find_ref(store, NAME, version)
    return Descriptor(media_type=INDEX_TYPE, digest=ref.digest, size=ref.size)


def attached_to(store: MemoryStore) -> str:
    return find_ref(store, NAME, "1.1.0").digest


GROWN = {
    "index": (1, lambda store: blob_key(attached_to(store)), "size"),
    "manifest": (1, manifest_key, "size"),
    "attached manifest": (
        1,
        lambda store: blob_key(list_referrers(store, attached_to(store))[0].digest),
        "size",
    ),
    "list of attachments": (8 << 20, lambda store: referrers_key(attached_to(store)), "malformed"),
    "ref": (1 << 20, lambda _: ref_key(NAME, "1.1.0"), "malformed"),
    "channel": (1 << 20, lambda _: channel_key(NAME, "stable"), "malformed"),
    "yank": (1 << 20, lambda _: yank_key(NAME, "1.1.0"), "malformed"),
    "catalog": (8 << 20, lambda _: INDEX_KEY, "catalog"),
    "channel list": (1 << 20, lambda _: CHANNEL_LIST_KEY, "catalog"),
}


@pytest.mark.parametrize("kind", sorted(GROWN))
def test_documents_that_grew_hide_nothing_else(store: MemoryStore, kind: str) -> None:
    grown, find_key, expected = GROWN[kind]
    key = find_key(store)
    store.delete(a_layer(store))
    overwrite(store, key, store.read(key, limit=8 << 20)[0] + b" " * grown)
    found = check_registry(store).findings
    assert (expected, key) in {(finding.kind, finding.key) for finding in found}
    assert "missing" in {finding.kind for finding in found}


def test_a_record_that_grew_is_named(store: MemoryStore) -> None:
    key = record_key(NAME, "stable", 2)
    overwrite(store, key, store.read(key, limit=1 << 20)[0] + b" " * (1 << 20))
    finding = only(check_registry(store))
    assert (finding.kind, finding.key) == ("malformed", channel_key(NAME, "stable"))
    assert f"{key}: expected at most" in finding.problem


def test_a_wrong_size_of_a_sound_object_is_no_reason_to_delete_it(store: MemoryStore) -> None:
    key = referrers_key(attached_to(store))
    fields = json.loads(store.read(key, limit=8 << 20)[0])
    fields["manifests"][0]["size"] -= 1
    overwrite(store, key, canonical_json(fields))
    report = check_registry(store)
    (finding,) = [finding for finding in report.findings if finding.kind == "size"]
    assert "which have its digest: what refers to it is wrong" in finding.problem
    assert finding.remedy.startswith("keep the object")


def test_a_chunk_list_that_grew_is_named() -> None:
    store, listed = MemoryStore(), ChunkList(1 << 16, ("0" * 64,) * 2).to_bytes()
    blob = describe_bytes(listed, CHUNK_LIST_TYPE)
    store.create(blob_key(blob.digest), listed + b" ")
    layer = describe_bytes(make_bytes(70_000), "")
    edge = Edge(blob, "x", is_document=False, chunks_of=layer)
    altered = find_altered(store, {}, {layer.digest: edge}, skip=(), deep=False)
    (finding,) = altered.findings
    assert (finding.kind, finding.key) == ("malformed", blob_key(blob.digest))


def test_gaps_in_a_history_are_named(store: MemoryStore) -> None:
    store.delete(record_key(NAME, "stable", 2))
    kinds = {finding.kind: finding for finding in check_registry(store).findings}
    assert kinds["history"].key == record_key(NAME, "stable", 2)
    assert set(kinds) == {"history", "malformed"}


def test_a_record_behind_a_gap_is_no_secret(store: MemoryStore) -> None:
    number = len(list(Channel(store, NAME, "stable").history()))
    data, _ = store.read(record_key(NAME, "stable", number), limit=1 << 20)
    store.create(record_key(NAME, "stable", number + 2), data)
    finding = only(check_registry(store))
    assert (finding.kind, finding.key) == ("history", record_key(NAME, "stable", number + 1))


def test_channels_must_name_versions(store: MemoryStore) -> None:
    found = Channel(store, NAME, "stable").newest()
    assert found is not None
    remove_ref(store, find_ref(store, NAME, found.record.version), clock=lambda: NOW)
    kinds = {finding.kind: finding for finding in check_registry(store).findings}
    assert kinds["channel"].key == channel_key(NAME, "stable")
    assert "which was removed on" in kinds["channel"].problem


@pytest.mark.parametrize(("state", "sound"), [("condemned", True), ("deleting", False)])
def test_tombstones_of_blobs_in_use_are_named(store: MemoryStore, state: str, sound: bool) -> None:
    digest = "sha256:" + a_layer(store).removeprefix(BLOBS)
    note = Tombstone(digest=digest, state=state, time=NOW)  # type: ignore[arg-type]
    store.create(condemned_key(digest), note.to_bytes())
    report = check_registry(store)
    assert (only(report).kind, report.is_sound) == ("tombstone", sound)
    collect(store, keep=None, grace_s=72 * 3600, clock=lambda: NOW + 7200)
    assert check_registry(store).findings == []


def test_unreferenced_blobs_are_counted(store: MemoryStore) -> None:
    store.create(blob_key("sha256:" + "0" * 64), b"12345")
    report = check_registry(store)
    assert report.is_sound
    assert (report.unreferenced, report.unreferenced_bytes) == (1, 5)


@pytest.mark.parametrize("key", ["notes.txt", "blobs/sha256/x", "channels/x.json", "refs/x.json"])
def test_foreign_objects_are_harmless(store: MemoryStore, key: str) -> None:
    store.create(key, b"")
    report = check_registry(store)
    assert report.is_sound
    assert (only(report).kind, only(report).key) == ("foreign", key)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        (f"{REFS}{NAME}/1.0.0.json", lambda data: data.replace(b'"size"', b'"sise"')),
        (f"{REFS}{NAME}/x.json", lambda _data: b"{}"),
        ("gc/condemned/" + "0" * 64 + ".json", lambda _data: b"{}"),
    ],
)
def test_malformed_documents_are_named(
    store: MemoryStore, key: str, change: Callable[[bytes], bytes]
) -> None:
    data = store.read(key, limit=1 << 20)[0] if store.head(key) else b""
    overwrite(store, key, change(data))
    found = {(finding.kind, finding.key) for finding in check_registry(store).findings}
    assert ("malformed", key) in found


def test_a_registry_without_its_documents(store: MemoryStore) -> None:
    store.delete("oci-layout")
    assert only(check_registry(store)).key == "oci-layout"


def trusting(*keys: Signer) -> TrustPolicy:
    return TrustPolicy(keys=tuple(TrustedKey(key=key.public) for key in keys))


def found_under(store: MemoryStore, policy: TrustPolicy, *, at: float) -> list[tuple[str, str]]:
    """Keys and problems of what clients would refuse."""
    report = check_registry(store, policy=policy, clock=lambda: at)
    assert not report.is_sound or not report.findings
    assert all(finding.kind == "trust" for finding in report.findings)
    return [(finding.key, finding.problem) for finding in report.findings]


def test_what_a_policy_accepts_is_sound_until_it_expires(store: MemoryStore) -> None:
    policy = trusting(golden_signer())
    assert found_under(store, policy, at=BEGIN + 1.5 * DAY) == []
    ((key, problem),) = found_under(store, policy, at=NOW)
    assert key == channel_key(NAME, "beta")
    assert "expired on" in problem


def test_what_a_policy_refuses_is_named(store: MemoryStore) -> None:
    stranger = trusting(generate_signer())
    found = found_under(store, stranger, at=BEGIN + 1.5 * DAY)
    assert [key for key, _ in found] == [
        ref_key(NAME, "1.0.0"),
        ref_key(NAME, "1.1.0"),
        channel_key(NAME, "beta"),
        channel_key(NAME, "stable"),
    ]
    assert all("of a trusted key" in problem for _, problem in found)


def test_one_malformed_name_hides_no_version_that_nobody_signed(store: MemoryStore) -> None:
    overwrite(store, ref_key(NAME, "1.0.0"), b"{")
    report = check_registry(store, policy=trusting(generate_signer()), clock=lambda: NOW)
    assert ("trust", ref_key(NAME, "1.1.0")) in {(one.kind, one.key) for one in report.findings}


@pytest.mark.parametrize(
    ("prefixed", "wrong"),
    [(True, ""), (False, ""), (True, "sha256"), (True, "prefix_sha256")],
)
def test_chunk_lists_are_compared_with_their_blobs(prefixed: bool, wrong: str) -> None:
    store, data, step = MemoryStore(), make_bytes(70_050), 100
    blob = put_blob(store, data)
    ends = [min(at + step, len(data)) for at in range(0, len(data), step)]
    chunks = ChunkList(
        step,
        tuple(hash_bytes(data[end - 1 - (end - 1) % step : end]) for end in ends),
        tuple(hash_bytes(data[:end]) for end in ends) if prefixed else None,
    )
    if wrong:
        digests = getattr(chunks, wrong)
        chunks = replace(chunks, **{wrong: (*digests[:-2], "0" * 64, digests[-1])})
    found = _hash_blob(store, blob.digest, blob.size, chunks)
    assert (found is None) == (not wrong)
    assert not wrong or "the list is not of it" in str(found)
