import os
import time
from pathlib import Path

import pytest

from ptefoundry.registry import prune as prune_module
from ptefoundry.registry.cache import BlobCache, user_cache
from ptefoundry.registry.download import WantedBlob
from ptefoundry.registry.fetch import fetch_blobs
from ptefoundry.registry.prune import Pruned, drop_unused, prune
from ptefoundry.registry.store.memory import MemoryStore
from support.blobs import put_blob

DAY = 86400.0


@pytest.fixture
def cache(tmp_path: Path) -> BlobCache:
    return BlobCache(tmp_path / "cache")


def add(cache: BlobCache, *texts: bytes) -> list[WantedBlob]:
    store = MemoryStore()
    blobs = [put_blob(store, text) for text in texts]
    fetch_blobs(store, blobs, cache)
    return blobs


def age(cache: BlobCache, blob: WantedBlob, seconds: float) -> None:
    """Have a blob be used last so long ago."""
    status = cache.path(blob.digest).stat()
    used = time.time() - seconds
    os.utime(cache.folder / "verified" / f"{status.st_dev}-{status.st_ino}.json", (used, used))


def there(cache: BlobCache, *blobs: WantedBlob) -> list[bool]:
    return [cache.path(blob.digest).exists() for blob in blobs]


def test_user_s_cache_is_shared_by_workspaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTEFOUNDRY_CACHE", str(tmp_path))
    assert user_cache().folder == tmp_path / "registry"


def test_blobs_are_listed_by_last_use(cache: BlobCache) -> None:
    one, two = add(cache, b"one", b"two!")
    age(cache, one, 10)
    age(cache, two, 20)
    listed = cache.blobs()
    assert [(blob.digest, blob.size) for blob in listed] == [(two.digest, 4), (one.digest, 3)]
    assert cache.take(two.digest, 4) == listed[0].path
    assert [blob.digest for blob in cache.blobs()] == [one.digest, two.digest]


def test_verify_drops_altered_blobs(cache: BlobCache) -> None:
    good, bad = add(cache, b"good", b"bad!")
    cache.path(bad.digest).chmod(0o644)
    cache.path(bad.digest).write_bytes(b"evil")
    found = {blob.digest: right for blob, right in BlobCache(cache.folder).verify()}
    assert found == {good.digest: True, bad.digest: False}
    assert there(cache, good, bad) == [True, False]


def test_unchanged_files_are_known_and_changed_ones_not(cache: BlobCache) -> None:
    (blob,) = add(cache, b"text")
    path = cache.path(blob.digest)
    later = BlobCache(cache.folder)
    assert later.verified.knows(path, blob.digest)
    assert not later.verified.knows(path, blob.digest, fresh=True)
    assert not later.verified.knows(path, f"sha256:{'0' * 64}")
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"best")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not later.verified.knows(path, blob.digest)


def test_note_of_a_file_that_may_not_be_on_the_disk_ends_with_the_boot(
    cache: BlobCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = add(cache, b"one", b"two")
    cache.verified.remember(cache.path(two.digest), two.digest, durable=True)
    monkeypatch.setattr("ptefoundry.registry.verified._boot_id", lambda: "another")
    assert not cache.verified.knows(cache.path(one.digest), one.digest)
    assert cache.verified.knows(cache.path(two.digest), two.digest)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"digest": 1}'])
def test_damaged_note_is_no_note(cache: BlobCache, text: str) -> None:
    (blob,) = add(cache, b"text")
    (note,) = (cache.folder / "verified").iterdir()
    note.write_text(text)
    assert not cache.verified.knows(cache.path(blob.digest), blob.digest)


def test_prune_drops_what_was_used_least_recently(cache: BlobCache) -> None:
    old, middle, new = add(cache, b"x" * 100, b"y" * 10, b"z" * 30)
    age(cache, old, 3 * DAY)
    age(cache, middle, 2 * DAY)
    age(cache, new, 1 * DAY)
    assert prune(cache, 140) == Pruned(blobs=0, partials=0, freed=0, kept=140)
    assert prune(cache, 39) == Pruned(blobs=2, partials=0, freed=110, kept=30)
    assert there(cache, old, middle, new) == [False, False, True]
    assert prune(cache, 0).kept == 0
    assert list((cache.folder / "verified").iterdir()) == []


def test_prune_spares_what_a_session_has_used(cache: BlobCache) -> None:
    used, unused = add(cache, b"used", b"unused")
    age(cache, used, DAY)
    age(cache, unused, DAY)
    with cache.session():
        assert cache.take(used.digest, used.size)
        assert prune(cache, 0).kept == used.size
        assert there(cache, used, unused) == [True, False]
        # Also while the session lasts for long.
        for session in cache.sessions.iterdir():
            os.utime(session, (time.time() - 2 * DAY,) * 2)
        age(cache, used, DAY)
        assert prune(cache, 0).kept == used.size
    assert prune(cache, 0).kept == 0
    assert list(cache.sessions.iterdir()) == []


def test_a_blob_is_dropped_at_once_if_nobody_uses_blobs(
    cache: BlobCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = add(cache, b"one", b"other")
    with cache.session():
        assert not drop_unused(cache, one.digest)
    assert drop_unused(cache, one.digest)
    assert there(cache, one, other) == [False, True]
    assert not drop_unused(cache, one.digest)

    def use(_cache: BlobCache) -> list[float]:
        """Somebody takes the blob right after sessions were looked for."""
        age(cache, other, -1)
        return []

    monkeypatch.setattr(prune_module, "_sessions", use)
    assert not drop_unused(cache, other.digest)
    assert there(cache, other) == [True]


def test_session_of_a_killed_process_spares_nothing(cache: BlobCache) -> None:
    (blob,) = add(cache, b"text")
    age(cache, blob, DAY)
    cache.sessions.mkdir(exist_ok=True)
    leftover = cache.sessions / "1-dead"
    leftover.touch()
    os.utime(leftover, (0, 0))
    assert prune(cache, 0).blobs == 1
    assert not leftover.exists()


def test_prune_clears_downloads_that_nobody_goes_on_with(cache: BlobCache) -> None:
    names = ("a" * 64, "b" * 64, "c" * 64)
    partials = [cache.lock_partial(f"sha256:{name}") for name in names]
    for partial in partials:
        assert partial is not None
        partial.write(b"x" * 1000, 0)
        os.utime(partial.path, (time.time() - 30 * DAY,) * 2)
    old, recent, locked = partials
    assert old
    assert recent
    assert locked
    os.utime(recent.path)
    old.release()
    recent.release()
    assert prune(cache, 1 << 30) == Pruned(blobs=0, partials=1, freed=1000, kept=2000)
    locked.release()
    assert [partial.path.exists() for partial in (old, recent, locked)] == [False, True, True]


def test_marks_go_with_their_downloads(cache: BlobCache) -> None:
    partial = cache.lock_partial(f"sha256:{'a' * 64}")
    assert partial is not None
    partial.reserve(1000, 3)
    partial.release()
    os.utime(partial.path, (0, 0))
    (cache.partials / f"{'b' * 64}.chunks").touch()
    assert prune(cache, 1 << 30).freed == 1000
    assert list(cache.partials.iterdir()) == []
