"""A store in a folder: what is peculiar to it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from ptefoundry.errors import (
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
    StoreError,
)
from ptefoundry.registry.store.file import FileStore
from ptefoundry.registry.store.memory import MemoryStore

KEY = "channels/name/stable.json"

CREATE = """
import sys
from pathlib import Path
from ptefoundry.errors import ObjectExistsError
from ptefoundry.registry.store.file import FileStore
folder, key, number = sys.argv[1:]
sys.stdin.read()
try:
    FileStore(Path(folder)).create(key, number.encode())
except ObjectExistsError:
    sys.exit(3)
"""
INCREMENT = """
import sys
from pathlib import Path
from ptefoundry.errors import ObjectChangedError
from ptefoundry.registry.store.file import FileStore
folder, key, times = sys.argv[1:]
store, left = FileStore(Path(folder)), int(times)
while left:
    data, token = store.read(key, limit=20)
    try:
        store.replace(key, b"%d" % (int(data) + 1), token)
    except ObjectChangedError:
        continue
    left -= 1
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from ptefoundry.registry.store import copying, file
from ptefoundry.registry.store.file import FileStore
folder, key, path, digest = sys.argv[1:]
write, written = copying.write_all, 0
def dying(target, piece):
    global written
    write(target, piece)
    written += 1
    if written == 3:
        os.kill(os.getpid(), signal.SIGKILL)
copying.write_all = dying
copying._clone = lambda *_: False
FileStore(Path(folder)).upload(key, Path(path), sha256=digest, advance=lambda _: None)
"""


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "registry")


def start(program: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def test_one_of_many_processes_creates(store: FileStore) -> None:
    processes = [start(CREATE, store.folder, KEY, number) for number in range(6)]
    time.sleep(0.5)
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()

    codes = [process.wait() for process in processes]

    assert sorted(codes) == [0] + [3] * 5
    assert store.read(KEY, limit=9)[0] == b"%d" % codes.index(0)


def test_processes_lose_no_increment(store: FileStore) -> None:
    store.create(KEY, b"0")
    processes = [start(INCREMENT, store.folder, KEY, 50) for _ in range(4)]

    assert [process.wait() for process in processes] == [0] * 4

    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    assert store.read(KEY, limit=9)[0] == b"200"


def test_a_killed_upload_leaves_nothing_that_is_seen(store: FileStore, tmp_path: Path) -> None:
    path, key = tmp_path / "file", "blobs/sha256/" + "a" * 64
    path.write_bytes(os.urandom(8 << 20))
    process = start(KILLED, store.folder, key, path, "a" * 64)
    assert process.wait() == -signal.SIGKILL
    assert process.stdin is not None
    process.stdin.close()

    assert store.head(key) is None
    assert list(store.list("")) == []
    assert len(list((store.folder / ".tmp").iterdir())) == 1
    assert store.drop_unfinished(3600) == 0
    assert store.drop_unfinished(0) == 1
    assert list((store.folder / ".tmp").iterdir()) == []


def test_tokens_never_come_back(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that stands still, and inodes that are used again.
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    token = store.create(KEY, b"0")
    seen = {token}
    for turn in range(200):
        token = store.replace(KEY, b"%d" % (turn % 2), token)
        seen.add(token)

    assert len(seen) == 201
    inodes = {token.split("-")[0] for token in seen}
    assert len(inodes) < 201 or sys.platform != "linux"


def test_objects_cannot_be_written_and_may_be_read(store: FileStore) -> None:
    umask = os.umask(0o027)
    try:
        token = store.create(KEY, b"one")
        assert store.folder.joinpath(KEY).stat().st_mode & 0o777 == 0o440
        store.replace(KEY, b"two", token)
        assert store.folder.joinpath(KEY).stat().st_mode & 0o777 == 0o440
    finally:
        os.umask(umask)


def test_hidden_files_are_none_of_its(store: FileStore) -> None:
    store.create(KEY, b"one")
    (store.folder / ".DS_Store").write_bytes(b"")
    (store.folder / ".git").mkdir()
    (store.folder / ".git" / "config").write_bytes(b"")

    assert [info.key for info in store.list("")] == [KEY]


def test_a_folder_in_the_way_is_reported(store: FileStore) -> None:
    store.create(KEY, b"one")

    with pytest.raises(StoreError, match="check the folder"):
        store.create(f"{KEY}/below", b"two")
    with pytest.raises(StoreError, match="a folder of that name is in the way"):
        store.create("channels/name", b"two")


def test_a_file_system_without_links_is_reported(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)

    with pytest.raises(StoreError, match="no hard links, which creating once needs"):
        store.create(KEY, b"one")
    assert list((store.folder / ".tmp").iterdir()) == []


def test_reading_makes_no_folder(store: FileStore) -> None:
    assert store.head(KEY) is None
    assert list(store.list("")) == []
    store.delete(KEY)
    assert store.drop_unfinished(0) == 0
    with pytest.raises(ObjectMissingError):
        store.read(KEY, limit=1)
    assert not store.folder.exists()


def test_a_clone_is_checked_too(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ptefoundry.registry.store import copying

    def clone(source: int, target: object) -> bool:
        size = os.fstat(source).st_size
        os.pwrite(target.fileno(), os.pread(source, size, 0), 0)  # type: ignore[attr-defined]
        return True

    monkeypatch.setattr(copying, "_clone", clone)
    path = tmp_path / "file"
    path.write_bytes(b"cloned")

    with pytest.raises(StoreError, match="expected sha256 aaaa"):
        store.upload("blobs/sha256/a", path, sha256="a" * 64, advance=lambda _: None)
    digest = file_store_digest(b"cloned")
    store.upload("blobs/sha256/b", path, sha256=digest, advance=lambda _: None)
    assert store.read("blobs/sha256/b", limit=9)[0] == b"cloned"


def file_store_digest(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


class SameAsInMemory(RuleBasedStateMachine):
    """Whatever is done, in whatever order: a folder and a memory answer alike."""

    tokens = Bundle("tokens")
    keys = st.sampled_from(["a.json", "a/b", "a/c-d", "refs/a/1.0.0.json"])
    data = st.binary(max_size=4)

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.pair = (MemoryStore(), FileStore(Path(self.folder.name)))

    @rule(target=tokens, key=keys, data=data)
    def create(self, key: str, data: bytes) -> tuple[object, object]:
        return self.both(lambda store: store.create(key, data))

    @rule(target=tokens, key=keys, data=data, known=tokens)
    def replace(self, key: str, data: bytes, known: tuple[object, object]) -> tuple[object, object]:
        memory, folder = self.pair
        return self.compare(
            self.outcome(lambda: memory.replace(key, data, str(known[0]))),
            self.outcome(lambda: folder.replace(key, data, str(known[1]))),
        )

    @rule(target=tokens, key=keys)
    def read(self, key: str) -> tuple[object, object]:
        contents = [self.outcome(lambda store=s: store.read(key, limit=4)[0]) for s in self.pair]
        assert contents[0] == contents[1]
        return self.both(lambda store: store.read(key, limit=4)[1])

    @rule(key=keys)
    def delete(self, key: str) -> None:
        for store in self.pair:
            store.delete(key)

    @rule(prefix=st.sampled_from(["", "a", "a/", "a/b", "refs/"]))
    def same_list(self, prefix: str) -> None:
        memory, folder = ([(i.key, i.size) for i in s.list(prefix)] for s in self.pair)
        assert memory == folder

    def both(self, use: object) -> tuple[object, object]:
        memory, folder = self.pair
        return self.compare(
            self.outcome(lambda: use(memory)),  # type: ignore[operator]
            self.outcome(lambda: use(folder)),  # type: ignore[operator]
        )

    def outcome(self, use: object) -> object:
        """A result, or the kind of the error."""
        try:
            return use()  # type: ignore[operator]
        except (ObjectChangedError, ObjectExistsError, ObjectMissingError) as error:
            return type(error)

    def compare(self, memory: object, folder: object) -> tuple[object, object]:
        """Tokens differ, errors do not."""
        assert (isinstance(memory, str), isinstance(folder, str)) in {(True, True), (False, False)}
        if not isinstance(memory, str):
            assert memory == folder
        return memory, folder

    def teardown(self) -> None:
        self.folder.cleanup()


SameAsInMemory.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestSameAsInMemory = SameAsInMemory.TestCase
