import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ptefoundry.bundle.manifest import FileEntry, Manifest
from ptefoundry.digest import hash_bytes
from ptefoundry.errors import (
    ConfigError,
    ConflictError,
    DigestMismatchError,
    DiskFullError,
    RegistryError,
)
from ptefoundry.files import write_json
from ptefoundry.registry import place, swap
from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.fetch import fetch_blobs
from ptefoundry.registry.place import (
    Target,
    TargetFile,
    bundle_files,
    check_target_room,
    inspect_target,
    publish,
)
from ptefoundry.registry.store.memory import MemoryStore
from support.blobs import put_blob

OLD = {"foundation.ptd": b"foundation", "x/nobel.pte": b"nobel 1", "x/old.pte": b"old"}
NEW = {"foundation.ptd": b"foundation", "x/nobel.pte": b"nobel 2", "tokenizer/chat.json": b"{}"}


@pytest.fixture
def cache(tmp_path: Path) -> BlobCache:
    return BlobCache(tmp_path / "cache")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "bundles" / "target"


def describe(files: dict[str, bytes]) -> list[TargetFile]:
    return [
        TargetFile(path=path, digest=f"sha256:{hash_bytes(data)}", size=len(data))
        for path, data in files.items()
    ]


def fill(cache: BlobCache, files: dict[str, bytes]) -> None:
    store = MemoryStore()
    fetch_blobs(store, [put_blob(store, data) for data in files.values()], cache)


def inspect(into: Path, files: dict[str, bytes], cache: BlobCache, *older: str) -> Target:
    return inspect_target(into, describe(files), cache, replaceable=older)


def put(into: Path, files: dict[str, bytes], cache: BlobCache, *older: str) -> Target:
    fill(cache, files)
    target = inspect(into, files, cache, *older)
    publish(target, cache)
    return target


def read(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_files_arrive_in_an_empty_place_sharing_their_bytes(into: Path, cache: BlobCache) -> None:
    target = put(into, OLD, cache)
    assert len(target.missing) == len(OLD)
    assert read(into) == OLD
    assert os.listdir(into.parent) == ["target"]
    for file in describe(OLD):
        placed, blob = (into / file.path).stat(), cache.path(file.digest).stat()
        assert placed.st_mode & 0o777 == 0o444
        assert placed.st_blocks == 0 or os.path.samestat(placed, blob)


def test_the_same_again_does_nothing_and_reads_nothing(
    into: Path, cache: BlobCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(into, OLD, cache)
    folder = into.stat()
    monkeypatch.setattr(place, "hash_file", pytest.fail)
    target = inspect(into, OLD, BlobCache(cache.folder))
    assert target.complete
    publish(target, cache)
    assert os.path.samestat(into.stat(), folder)


def test_older_version_is_replaced_and_its_foundation_kept(into: Path, cache: BlobCache) -> None:
    put(into, OLD, cache)
    foundation = (into / "foundation.ptd").stat()
    into.chmod(0o750)
    fill(cache, NEW)
    target = inspect(into, NEW, cache, *OLD)
    assert [file.path for file in target.missing] == ["x/nobel.pte", "tokenizer/chat.json"]
    cache.path(describe(NEW)[0].digest).unlink()  # the target has it
    publish(target, cache)
    assert read(into) == NEW
    assert os.path.samestat((into / "foundation.ptd").stat(), foundation)
    assert into.stat().st_mode & 0o777 == 0o750
    assert os.listdir(into.parent) == ["target"]
    assert inspect(into, NEW, cache).complete


def test_after_an_update_nothing_is_hashed_again(
    into: Path, cache: BlobCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(into, OLD, cache)
    put(into, NEW, cache, *OLD)
    monkeypatch.setattr(place, "hash_file", pytest.fail)
    assert inspect(into, NEW, BlobCache(cache.folder)).complete


@pytest.mark.parametrize("way", ["clone", "link", "copy"])
def test_each_way_of_placing_gives_the_same_result(
    into: Path, cache: BlobCache, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk cannot clone, that is a link; e2e/registry/test_disks.py has one for it."""
    refused = {"clone": (), "link": ("_clone",), "copy": ("_clone", "_link")}[way]
    for name in refused:
        monkeypatch.setattr(place, name, lambda *_: False)
    put(into, OLD, cache)
    assert put(into, NEW, cache, *OLD).into == into
    assert read(into) == NEW
    assert all((into / path).stat().st_mode & 0o777 == 0o444 for path in NEW)
    assert inspect(into, NEW, cache).complete


def test_copy_that_reads_other_bytes_is_refused(
    into: Path, cache: BlobCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "_clone", lambda *_: False)
    monkeypatch.setattr(place, "_link", lambda *_: False)
    fill(cache, OLD)
    target = inspect(into, OLD, cache)
    monkeypatch.setattr(cache, "_check", lambda *_args, **_options: True)
    blob = cache.path(describe(OLD)[0].digest)
    blob.chmod(0o644)
    blob.write_bytes(b"foundatiom")
    with pytest.raises(DigestMismatchError, match=str(blob)):
        publish(target, cache)
    assert not into.exists()


def test_file_altered_in_the_target_is_replaced(into: Path, cache: BlobCache) -> None:
    put(into, OLD, cache)
    alter(into / "foundation.ptd", keep_time=True)
    target = inspect(into, OLD, cache, *OLD)
    assert [file.path for file in target.missing] == ["foundation.ptd"]
    put(into, OLD, cache, *OLD)
    assert read(into) == OLD


def alter(path: Path, *, keep_time: bool = False) -> None:
    before = path.stat()
    path.chmod(0o644)
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("fresh", [True, False])
def test_bit_flipped_in_the_cache_never_reaches_a_target(
    into: Path, cache: BlobCache, fresh: bool
) -> None:
    fill(cache, OLD)
    target = inspect(into, OLD, cache)
    blob = cache.path(target.missing[0].digest)
    alter(blob, keep_time=True)
    with pytest.raises(DigestMismatchError, match=f"{blob}.*foundation.ptd"):
        publish(target, cache if fresh else BlobCache(cache.folder))
    assert not into.exists()
    assert os.listdir(into.parent) == []
    assert not blob.exists()


def test_bit_flipped_without_a_trace_is_found_by_another_process(
    into: Path, cache: BlobCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a disk does it: no time changes. Only what this process hashed is trusted."""
    fill(cache, OLD)
    target = inspect(into, OLD, cache)
    alter(cache.path(target.missing[0].digest))
    later = BlobCache(cache.folder)
    path, digest = cache.path(target.missing[0].digest), target.missing[0].digest
    later.verified.remember(path, digest, durable=True)
    later.verified._fresh.clear()
    assert later.verified.knows(path, digest)
    with pytest.raises(DigestMismatchError, match="altered ones that were dropped"):
        publish(target, later)


def test_bit_flipped_in_a_kept_file_is_found_and_mended_on_request(
    into: Path, cache: BlobCache
) -> None:
    put(into, OLD, cache)
    path, digest = into / "x/nobel.pte", f"sha256:{hash_bytes(OLD['x/nobel.pte'])}"
    alter(path)
    cache.verified.remember(path, digest, durable=True)
    later = BlobCache(cache.folder)
    assert inspect(into, OLD, later).complete
    target = inspect_target(into, describe(OLD), later, replaceable=OLD, rehash=True)
    assert [file.path for file in target.missing] == ["x/nobel.pte"]
    fill(later, OLD)
    publish(target, later)
    assert read(into) == OLD


def test_failure_leaves_the_older_version(
    into: Path, cache: BlobCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(into, OLD, cache)
    target = inspect(into, NEW, cache, *OLD)  # the cache has nothing of it
    with pytest.raises(DigestMismatchError, match=r"x/nobel\.pte"):
        publish(target, cache)
    assert read(into) == OLD
    assert os.listdir(into.parent) == ["target"]


def test_foreign_files_are_refused_and_named(into: Path, cache: BlobCache) -> None:
    put(into, OLD, cache)
    (into / "notes.txt").write_text("mine")
    (into / "link").symlink_to("/")
    fill(cache, NEW)
    with pytest.raises(ConfigError, match=r"found files.*: link, notes\.txt; nothing was changed"):
        inspect(into, NEW, cache, *OLD)
    assert (into / "notes.txt").read_text() == "mine"


def test_foreign_file_of_a_wanted_name_is_refused_unless_it_is_equal(
    into: Path, cache: BlobCache
) -> None:
    into.mkdir(parents=True)
    (into / "foundation.ptd").write_bytes(b"foundatiom")
    with pytest.raises(ConfigError, match=r"foundation\.ptd"):
        inspect(into, OLD, cache)
    (into / "foundation.ptd").write_bytes(b"foundation")
    put(into, OLD, cache)
    assert read(into) == OLD


def test_file_that_appears_meanwhile_is_not_lost(into: Path, cache: BlobCache) -> None:
    put(into, OLD, cache)
    fill(cache, NEW)
    target = inspect(into, NEW, cache, *OLD)
    (into / "notes.txt").write_text("mine")
    with pytest.raises(ConflictError, match=r"notes\.txt there meanwhile"):
        publish(target, cache)
    assert read(into) == {**OLD, "notes.txt": b"mine"}


def test_second_of_two_equal_pulls_succeeds(into: Path, cache: BlobCache) -> None:
    fill(cache, NEW)
    one, other = inspect(into, NEW, cache), inspect(into, NEW, cache)
    publish(one, cache)
    publish(other, cache)
    assert read(into) == NEW
    assert os.listdir(into.parent) == ["target"]


def test_links_and_files_are_no_targets(into: Path, cache: BlobCache) -> None:
    into.parent.mkdir()
    into.write_text("file")
    with pytest.raises(ConfigError, match="found a file"):
        inspect(into, NEW, cache)
    link = into.with_name("link")
    link.symlink_to(into.parent)
    with pytest.raises(ConfigError, match=f"found a link to {into.parent}"):
        inspect(link, NEW, cache)


def test_folder_of_the_process_is_not_replaced_under_it(
    into: Path, cache: BlobCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    into.mkdir(parents=True)
    monkeypatch.chdir(into)
    with pytest.raises(ConfigError, match="the one this command runs in"):
        inspect(Path(), NEW, cache)


def test_folder_that_cannot_be_written_is_named(into: Path, cache: BlobCache) -> None:
    into.parent.write_text("a file where the folder should be")
    fill(cache, NEW)
    with pytest.raises(ConfigError, match=f"{into.parent}: expected a folder to write to"):
        publish(inspect(into, NEW, cache), cache)


@pytest.mark.parametrize("path", ["../x", "/x", "x/../../y", ""])
def test_paths_that_leave_the_target_are_refused(into: Path, cache: BlobCache, path: str) -> None:
    with pytest.raises(RegistryError, match="expected a relative path"):
        inspect(into, {path: b"x"}, cache)


def test_leftovers_of_killed_processes_go(into: Path, cache: BlobCache) -> None:
    leftover = into.with_name(f".{into.name}.0123.tmp")
    (leftover / "x").mkdir(parents=True)
    put(into, NEW, cache)
    assert os.listdir(into.parent) == ["target"]


@pytest.fixture
def without_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_one: Path, _other: Path) -> None:
        raise OSError(swap.errno.ENOSYS, "not there")

    monkeypatch.setattr(swap, "_rename_exchange", refuse)


@pytest.mark.usefixtures("without_exchange")
def test_update_without_an_atomic_exchange(into: Path, cache: BlobCache) -> None:
    put(into, OLD, cache)
    put(into, NEW, cache, *OLD)
    assert read(into) == NEW
    assert os.listdir(into.parent) == ["target"]


def test_folder_that_was_moved_aside_by_a_killed_process_comes_back(
    into: Path, cache: BlobCache
) -> None:
    put(into, OLD, cache)
    into.rename(into.with_name(".target.old"))
    assert inspect(into, OLD, cache).complete
    assert read(into) == OLD


def test_reader_finds_the_old_or_the_new_at_any_time(into: Path, cache: BlobCache) -> None:
    """A process reads by path, again and again, while the folder is replaced many times."""
    fill(cache, OLD)
    fill(cache, NEW)
    put(into, OLD, cache)
    stop = into.with_name("stop")
    command = [sys.executable, "-c", READER, str(into), str(stop)]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    for number in range(60):
        files, older = (NEW, OLD) if number % 2 == 0 else (OLD, NEW)
        put(into, files, cache, *older)
    stop.touch()
    output, _ = reader.communicate()
    assert reader.returncode == 0
    assert output.splitlines() == ["foundation nobel 1", "foundation nobel 2"]


READER = """
import pathlib, sys
folder, stop = map(pathlib.Path, sys.argv[1:])
seen = set()
print("ready", flush=True)
while not stop.exists():
    for name in ("foundation.ptd", "x/nobel.pte"):
        seen.add((name, (folder / name).read_text()))
foundation, *programs = sorted(seen)
for program in programs:
    print(foundation[1], program[1])
"""


def test_what_a_bundle_s_manifest_lists_may_be_replaced(into: Path) -> None:
    assert bundle_files(into) == set()
    entry = FileEntry(path="x/nobel.pte", size=1, sha256="0" * 64)
    manifest = Manifest(name="a", base={}, adapters={}, backends={}, files=(entry,), variants=())
    into.mkdir(parents=True)
    write_json(into / "manifest.json", asdict(manifest))
    (into / "signatures").mkdir()
    (into / "signatures" / "version.json").write_text("{}")
    (into / "notes.txt").write_text("mine")
    assert bundle_files(into) == {
        "x/nobel.pte",
        "manifest.json",
        "measured.json",
        "signatures/version.json",
    }


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_another_file_system_gets_copies(cache: BlobCache) -> None:
    folder = Path("/dev/shm") / f"ptefoundry-test-{os.getpid()}"
    try:
        put(folder / "target", OLD, cache)
        assert read(folder / "target") == OLD
        assert inspect(folder / "target", OLD, cache).complete
        files = [replace(describe(OLD)[0], size=1 << 55)]
        huge = inspect_target(folder / "new" / "target", files, cache, replaceable=())
        with pytest.raises(DiskFullError, match=r"target with 1 new files needs .* another disk"):
            check_target_room(huge, cache)
        check_target_room(replace(huge, into=cache.folder / "target"), cache)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
