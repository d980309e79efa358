"""A shared cache in a folder: what arrives is what its name says, or nothing does."""

import errno
import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from dvc.fs import LocalFileSystem

from ptefoundry.cli.shared_store import (
    DamagedError,
    SharedStore,
    Wanted,
    object_name,
)
from ptefoundry.errors import DiskFullError, StoreError

ONE, TWO = b"one", b"another"


@pytest.fixture
def store(tmp_path: Path) -> SharedStore:
    return SharedStore(SimpleNamespace(fs=LocalFileSystem(), path=str(tmp_path / "store")))


def _name(content: bytes) -> str:
    return object_name(hashlib.md5(content).hexdigest())


def _file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / content.decode()
    path.write_bytes(content)
    return path


def _wanted(tmp_path: Path, content: bytes) -> Wanted:
    digest = hashlib.md5(content).hexdigest()
    return Wanted(name=_name(content), target=tmp_path / "cache" / digest, md5=digest)


def test_what_is_sent_can_be_listed_read_fetched_and_removed(
    store: SharedStore, tmp_path: Path
) -> None:
    assert store.list_files("") == {}
    files = [(_file(tmp_path, content), _name(content)) for content in (ONE, TWO)]
    assert store.send(files) == len(ONE) + len(TWO)
    found = store.list_files("files")
    assert {name: file.size for name, file in found.items()} == {
        _name(ONE): len(ONE),
        _name(TWO): len(TWO),
    }
    assert all(file.md5 is None and file.modified > 0 for file in found.values())
    assert store.read(_name(ONE)) == ONE
    wanted = [_wanted(tmp_path, content) for content in (ONE, TWO)]
    assert store.fetch(wanted) == []
    assert [one.target.read_bytes() for one in wanted] == [ONE, TWO]
    assert not wanted[0].target.stat().st_mode & 0o222
    store.remove([_name(ONE)])
    assert store.list_files("").keys() == {_name(TWO)}


def test_what_is_gone_cut_or_altered_does_not_arrive(store: SharedStore, tmp_path: Path) -> None:
    gone, cut, altered = (_wanted(tmp_path, content) for content in (b"gone", b"cut", b"altered"))
    for wanted, content in ((cut, b"cu"), (altered, b"alterED")):
        path = tmp_path / "store" / wanted.name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    assert store.fetch([gone, cut, altered]) == [gone, cut, altered]
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    with pytest.raises(DamagedError):
        store.read(gone.name)


@pytest.mark.parametrize(
    ("number", "error", "advice"),
    [
        (errno.ENOSPC, DiskFullError, "make room"),
        (errno.EDQUOT, DiskFullError, "make room"),
        (errno.EACCES, StoreError, "log in again"),
        (errno.ECONNRESET, StoreError, "check the network"),
    ],
)
def test_errors_say_what_to_do(
    store: SharedStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[Exception],
    advice: str,
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(number, "failed")

    monkeypatch.setattr(LocalFileSystem, "get_file", fail)
    with pytest.raises(error, match=advice):
        store.fetch([_wanted(tmp_path, ONE)])
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
