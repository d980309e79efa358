"""Copying registries: all of it, parts, again, and what stops it."""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ptefoundry.errors import (
    ConflictError,
    DigestMismatchError,
    DiskFullError,
    RegistryError,
    StoreError,
    TrustError,
)
from ptefoundry.registry import chunks, disk, transfer
from ptefoundry.registry.cache import BlobCache, user_cache
from ptefoundry.registry.channels import Channel
from ptefoundry.registry.chunks import CHUNK_SIZE
from ptefoundry.registry.content import read_blob
from ptefoundry.registry.download import WantedBlob
from ptefoundry.registry.fetch import fetch_blobs
from ptefoundry.registry.fsck import check_registry
from ptefoundry.registry.mirror import Mirrored, mirror
from ptefoundry.registry.moves import Move, promote
from ptefoundry.registry.names import (
    BLOBS,
    CHANNEL_LIST_KEY,
    LEASES,
    blob_key,
    channel_key,
    parse_reference,
    record_key,
    ref_key,
    referrers_key,
)
from ptefoundry.registry.oci import INDEX_TYPE, Descriptor
from ptefoundry.registry.publish import SIGNATURES_TYPE
from ptefoundry.registry.referrers import Attachment, attach
from ptefoundry.registry.refs import find_ref, remove_ref
from ptefoundry.registry.store.interface import Advance, ObjectInfo, Store
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.trust.keys import Signer, generate_signer
from ptefoundry.registry.trust.policy import TrustedKey, TrustPolicy
from ptefoundry.registry.trust.signed_content import files_of_contents
from ptefoundry.registry.trust.version_signatures import sign_version
from ptefoundry.registry.version import read_variant, read_version
from ptefoundry.registry.yanks import find_yank
from support.golden_registry import golden_signer, make_registry
from support.layouts import empty_registry, push
from support.packed import NAME, copy_bundle, pack, replace_file

NOW = 1_800_000_000.0


def copy(source: Store, target: Store, *wanted: str, policy: TrustPolicy | None = None) -> Mirrored:
    references = [parse_reference(text) for text in wanted]
    return mirror(
        *(source, target, references), policy=policy, cache=user_cache(), clock=lambda: NOW
    )


def contents(store: MemoryStore) -> dict[str, bytes]:
    return {info.key: store.read(info.key, limit=info.size)[0] for info in store.list("")}


def watch(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of what is read from a store from now on, once for each request."""
    reads, stream = list[str](), store.stream

    def noting(key: str, start: int, end: int) -> AbstractContextManager[Iterator[bytes]]:
        reads.append(key)
        return stream(key, start, end)

    monkeypatch.setattr(store, "stream", noting)
    return reads


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BlobCache:
    """The user's, which is empty."""
    monkeypatch.setenv("PTEFOUNDRY_CACHE", str(tmp_path / "cache"))
    return user_cache()


@pytest.fixture
def source() -> MemoryStore:
    return make_registry()


@pytest.fixture
def target() -> MemoryStore:
    return empty_registry()


@pytest.mark.parametrize("large_from", [0, 1 << 20])
def test_a_copy_has_the_same_bytes(
    source: MemoryStore, target: MemoryStore, large_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_SMALL_BYTES", large_from)
    before = contents(source)
    done = copy(source, target)
    assert done.versions == (f"{NAME}@1.0.0", f"{NAME}@1.1.0")
    assert done.channels == {f"{NAME}:beta": 1, f"{NAME}:stable": 3}
    assert done.blobs == len([key for key in before if key.startswith(BLOBS)])
    assert contents(target) == contents(source) == before
    assert check_registry(target, deep=True).findings == []


def test_large_blobs_pass_through_the_cache_and_leave_it(
    source: MemoryStore, target: MemoryStore, cache: BlobCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_SMALL_BYTES", 4 << 10)
    monkeypatch.setattr(transfer, "_BATCH_BYTES", 100 << 10)
    foundation = max(source.list(BLOBS), key=lambda info: info.size)
    known = f"sha256:{foundation.key.rpartition('/')[2]}"
    fetch_blobs(source, [WantedBlob(digest=known, size=foundation.size)], cache)
    reads = watch(source, monkeypatch)
    copy(source, target)
    assert contents(target) == contents(source)
    assert foundation.key not in reads
    assert len(reads) == len(set(reads)) > 3
    assert [blob.digest for blob in cache.blobs()] == [known]


def test_what_was_received_is_not_received_again(
    source: MemoryStore, target: MemoryStore, cache: BlobCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(key: str, path: Path, *, sha256: str, advance: Advance) -> None:
        raise StoreError(f"{key}: the line is dead")

    monkeypatch.setattr(transfer, "_SMALL_BYTES", 4 << 10)
    with monkeypatch.context() as broken:
        broken.setattr(target, "upload", refuse)
        with pytest.raises(StoreError, match="line is dead"):
            copy(source, target, f"{NAME}@1.0.0")
    received = {blob_key(blob.digest) for blob in cache.blobs()}
    reads = watch(source, monkeypatch)
    copy(source, target)
    assert contents(target) == contents(source)
    assert len(received) > 2
    assert not received & {*reads}


def test_a_large_file_is_received_by_its_chunks(
    target: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNKED_FROM", CHUNK_SIZE)
    bundle, source = copy_bundle(tmp_path / "bundle"), empty_registry()
    replace_file(bundle, "xnnpack/foundation.ptd", b"weights" * (CHUNK_SIZE // 6))
    push(source, pack(bundle).packed)
    largest = max(source.list(BLOBS), key=lambda info: info.size)
    reads = watch(source, monkeypatch)
    copy(source, target)
    assert reads.count(largest.key) == 2
    assert contents(target) == contents(source)


def test_room_for_large_blobs_is_looked_for_first(
    source: MemoryStore, target: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_SMALL_BYTES", 4 << 10)
    full = shutil.disk_usage("/")._replace(free=8 << 10)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _path: full)
    before = {info.key for info in target.list("")}
    with pytest.raises(DiskFullError, match=r"PTEFOUNDRY_CACHE to another disk"):
        copy(source, target)
    assert {info.key for info in target.list("")} == before


def test_a_second_copy_sends_nothing(source: MemoryStore, target: MemoryStore) -> None:
    copy(source, target)
    before = {info.key: info.token for info in target.list("")}
    done = copy(source, target)
    assert (done.versions, done.blobs, done.bytes) == ((), 0, 0)
    assert done.channels == {f"{NAME}:beta": 0, f"{NAME}:stable": 0}
    assert {info.key: info.token for info in target.list("")} == before


def test_one_version(source: MemoryStore, target: MemoryStore) -> None:
    done = copy(source, target, f"{NAME}@1.1.0")
    assert (done.versions, done.channels) == ((f"{NAME}@1.1.0",), {})
    assert find_yank(target, NAME, "1.1.0") == find_yank(source, NAME, "1.1.0")
    assert check_registry(target, deep=True).findings == []


def test_one_channel_comes_with_its_version(source: MemoryStore, target: MemoryStore) -> None:
    done = copy(source, target, f"{NAME}:stable")
    assert done.versions == (f"{NAME}@1.0.0",)
    assert done.channels == {f"{NAME}:stable": 3}
    assert check_registry(target).is_sound


def test_a_name_is_all_of_it(source: MemoryStore, target: MemoryStore) -> None:
    copy(source, target, NAME)
    assert contents(target) == contents(source)
    with pytest.raises(RegistryError, match="versions of other, found none"):
        copy(source, target, "other")


def test_what_was_added_later_follows(source: MemoryStore, target: MemoryStore) -> None:
    copy(source, target)
    channel = Channel(source, NAME, "stable", signers=[golden_signer()])
    promote(source, channel, "1.0.0", Move(by="ci", reason="again", clock=lambda: NOW))
    assert copy(source, target).channels == {f"{NAME}:beta": 0, f"{NAME}:stable": 1}
    assert contents(target) == contents(source)


def test_lost_blobs_come_back(source: MemoryStore, target: MemoryStore) -> None:
    copy(source, target)
    for info in list(target.list(BLOBS))[::3]:
        target.delete(info.key)
    assert not check_registry(target).is_sound
    copy(source, target)
    assert contents(target) == contents(source)


def test_a_copy_may_fail_anywhere_and_goes_on(source: MemoryStore) -> None:
    class Failing(MemoryStore):
        left = 10**9

        def create(self, key: str, data: bytes) -> str:
            self.left -= 1
            if self.left < 0:
                raise StoreError("broken")
            return super().create(key, data)

    target, tries = Failing(clock=lambda: NOW), 0
    for key, data in contents(empty_registry()).items():
        target.create(key, data)
    while True:
        tries += 1
        target.left = 7
        try:
            copy(source, target)
        except StoreError:
            assert all(
                one.kind in {"catalog", "pointer"} for one in check_registry(target).findings
            )
        else:
            break
    assert tries > 5
    target.left = 10**9
    assert contents(target) == contents(source)
    assert list(target.list(LEASES)) == []


def test_other_content_is_never_overwritten(source: MemoryStore, target: MemoryStore) -> None:
    copy(source, target, f"{NAME}@1.0.0")
    ref, token = target.read(ref_key(NAME, "1.0.0"), limit=1 << 20)
    digest = find_ref(source, NAME, "1.0.0").digest.encode()
    target.replace(ref_key(NAME, "1.0.0"), ref.replace(digest, b"sha256:" + b"0" * 64), token)
    before = contents(target)
    with pytest.raises(ConflictError, match=rf"{NAME}@1\.0\.0: expected a new version"):
        copy(source, target)
    assert contents(target) == before


@pytest.mark.parametrize("longer", ["source", "target", "neither"])
def test_channels_that_parted_are_not_merged(
    source: MemoryStore, target: MemoryStore, longer: str
) -> None:
    copy(source, target)
    times = {"source": (2, 1), "target": (1, 2), "neither": (1, 1)}[longer]
    for store, count, by in zip((source, target), times, ("red", "blue"), strict=True):
        channel = Channel(store, NAME, "stable", signers=[golden_signer()])
        for _ in range(count):
            promote(store, channel, "1.0.0", Move(by=by, reason="", clock=lambda: NOW))
    before = contents(target)
    with pytest.raises(ConflictError, match=r"number 4: .*moved here too"):
        copy(source, target)
    assert contents(target) == before


def test_a_target_that_is_ahead_stays(source: MemoryStore, target: MemoryStore) -> None:
    copy(source, target)
    channel = Channel(target, NAME, "stable", signers=[golden_signer()])
    promote(target, channel, "1.0.0", Move(by="ci", reason="", clock=lambda: NOW))
    before = contents(target)
    copy(source, target)
    assert contents(target) == before


def test_flipped_bits_do_not_arrive(source: MemoryStore, target: MemoryStore) -> None:
    info = max(source.list(BLOBS), key=lambda info: info.size)
    data, token = source.read(info.key, limit=info.size)
    source.replace(info.key, data[:-1] + bytes([data[-1] ^ 1]), token)
    with pytest.raises(DigestMismatchError, match=info.key):
        copy(source, target)
    assert target.head(info.key) is None
    source.delete(info.key)
    with pytest.raises(RegistryError, match=f"{info.key}: expected .* found no such object"):
        copy(source, target)


def test_removed_versions_stay_away(source: MemoryStore, target: MemoryStore) -> None:
    remove_ref(source, find_ref(source, NAME, "1.1.0"), clock=lambda: NOW)
    with pytest.raises(RegistryError, match="it was removed on"):
        copy(source, target, f"{NAME}@1.1.0")
    assert copy(source, target, f"{NAME}:stable").versions == (f"{NAME}@1.0.0",)


def test_a_channel_must_be_there(source: MemoryStore, target: MemoryStore) -> None:
    with pytest.raises(RegistryError, match="nightly: expected a channel, found none"):
        copy(source, target, f"{NAME}:nightly")


def test_channels_are_verified_on_request(source: MemoryStore, target: MemoryStore) -> None:
    trusted = TrustPolicy(keys=(TrustedKey(key=golden_signer().public),))
    assert copy(source, target, f"{NAME}:stable", policy=trusted).channels
    stranger = TrustPolicy(keys=(TrustedKey(key=generate_signer().public),))
    with pytest.raises(TrustError, match="trusted key"):
        copy(source, empty_registry(), f"{NAME}:stable", policy=stranger)


def test_versions_that_no_trusted_key_signed_are_not_copied(
    source: MemoryStore, target: MemoryStore
) -> None:
    before = contents(target)
    stranger = TrustPolicy(keys=(TrustedKey(key=generate_signer().public),))
    for wanted in ((), (f"{NAME}@1.0.0",)):
        with pytest.raises(TrustError, match="trusted key"):
            copy(source, target, *wanted, policy=stranger)
    source.delete(referrers_key(find_ref(source, NAME, "1.0.0").digest))
    trusted = TrustPolicy(keys=(TrustedKey(key=golden_signer().public),))
    with pytest.raises(TrustError, match=rf"{NAME}@1\.0\.0: expected a signature of the whole"):
        copy(source, target, policy=trusted)
    assert contents(target) == before
    assert copy(source, target, f"{NAME}@1.1.0", policy=trusted).versions == (f"{NAME}@1.1.0",)


def test_a_history_is_copied_whose_older_keys_count_no_longer(
    source: MemoryStore, target: MemoryStore
) -> None:
    new = generate_signer()
    policy = TrustPolicy(keys=(TrustedKey(key=new.public),))
    with pytest.raises(TrustError, match="trusted key"):
        copy(source, target, f"{NAME}:stable", policy=policy)
    sign_anew(source, "1.0.0", new)
    channel = Channel(source, NAME, "stable", signers=[new], policy=policy)
    move = Move(by="ci", reason="new key", clock=lambda: NOW, valid_s=3600, adopt=3)
    promote(source, channel, "1.0.0", move)
    assert copy(source, target, f"{NAME}:stable", policy=policy).channels == {f"{NAME}:stable": 4}
    assert check_registry(target).is_sound


def sign_anew(store: MemoryStore, version: str, signer: Signer) -> None:
    """Attach another key's signatures, as pushing again with it does."""
    ref = find_ref(store, NAME, version)
    index = Descriptor(media_type=INDEX_TYPE, digest=ref.digest, size=ref.size)
    read = read_version(read_blob(store, index), name=NAME, version=version, where="")
    variants = [
        read_variant(read_blob(store, one.descriptor), expected=one.facts, where="")
        for one in read.variants
    ]
    files = sign_version(files_of_contents(NAME, version, ref.digest, variants), [signer])
    attachment = Attachment(artifact_type=SIGNATURES_TYPE, media_type=SIGNATURES_TYPE, files=files)
    attach(store, index, [attachment], clock=lambda: NOW)


def test_a_source_that_cannot_list_has_its_channels_named(
    source: MemoryStore, target: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_prefix: str) -> Iterator[ObjectInfo]:
        raise StoreError("cannot list")

    expected = contents(source)
    source.can_list = False
    monkeypatch.setattr(source, "list", refuse)
    listed, _ = source.read(CHANNEL_LIST_KEY, limit=1 << 20)
    source.delete(CHANNEL_LIST_KEY)
    done = copy(source, target)
    assert len(done.versions) == 2
    assert done.channels is None
    source.create(CHANNEL_LIST_KEY, listed.replace(b'"stable"', b'"nightly"'))
    assert copy(source, target).channels == {f"{NAME}:beta": 1}
    copy(source, target, f"{NAME}:stable", f"{NAME}:beta")
    assert contents(target) == expected


def test_a_pointer_left_behind_is_moved_on(source: MemoryStore, target: MemoryStore) -> None:
    copy(source, target)
    key = channel_key(NAME, "stable")
    first, _ = target.read(record_key(NAME, "stable", 1), limit=1 << 20)
    _, token = target.read(key, limit=1 << 20)
    target.replace(key, first, token)
    copy(source, target)
    assert contents(target) == contents(source)
