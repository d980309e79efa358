"""Objects that somebody has altered are dropped, and right ones hashed only once."""

import hashlib
import os
from pathlib import Path

import pytest

from ptefoundry.cli import local_cache
from ptefoundry.cli.local_cache import drop_altered_objects, remember_objects


def _add(root: Path, content: bytes, suffix: str = "") -> Path:
    name = hashlib.md5(content).hexdigest() + suffix
    path = root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that were hashed, in order."""
    files: list[Path] = []
    original = local_cache.hash_md5

    def hash_md5(path: Path) -> str:
        files.append(path)
        return original(path)

    monkeypatch.setattr(local_cache, "hash_md5", hash_md5)
    return files


def test_no_cache_is_nothing_to_check(tmp_path: Path) -> None:
    drop_altered_objects(tmp_path)
    (tmp_path / ".dvc").mkdir()
    drop_altered_objects(tmp_path)
    remember_objects(tmp_path)
    assert list((tmp_path / ".dvc").iterdir()) == []


def test_altered_and_cut_objects_are_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = [_add(tmp_path, b"right"), _add(tmp_path, b"[]", ".dir")]
    wrong = [_add(tmp_path, b"altered"), _add(tmp_path, b"cut short")]
    wrong[0].write_bytes(b"alterED")
    wrong[1].write_bytes(b"cut")
    drop_altered_objects(tmp_path)
    assert all(path.is_file() for path in right)
    assert not any(path.is_file() for path in wrong)
    error = capsys.readouterr().err
    assert "dropped 2 altered objects" in error
    assert hashlib.md5(b"altered").hexdigest() in error


def test_what_was_checked_is_hashed_again_only_when_it_changes(
    tmp_path: Path, hashed: list[Path]
) -> None:
    path = _add(tmp_path, b"one")
    drop_altered_objects(tmp_path)
    drop_altered_objects(tmp_path)
    assert hashed == [path]
    os.utime(path, ns=(1, 1))
    drop_altered_objects(tmp_path)
    assert hashed == [path, path]
    path.write_bytes(b"two")
    drop_altered_objects(tmp_path)
    assert not path.exists()


def test_what_a_build_added_is_not_hashed_again(tmp_path: Path, hashed: list[Path]) -> None:
    old = _add(tmp_path, b"old")
    drop_altered_objects(tmp_path)
    new = _add(tmp_path, b"new")
    old.write_bytes(b"OLD")
    remember_objects(tmp_path)
    hashed.clear()
    drop_altered_objects(tmp_path)
    assert hashed == [old]
    assert new.is_file()
    assert not old.exists()


def test_a_damaged_memory_is_made_anew(tmp_path: Path, hashed: list[Path]) -> None:
    path = _add(tmp_path, b"one")
    memory = tmp_path / ".dvc" / "cache" / "ptefoundry-checked.json"
    memory.write_text('{"1": 2')
    drop_altered_objects(tmp_path)
    drop_altered_objects(tmp_path)
    assert hashed == [path]


def test_files_that_are_being_written_are_left_alone(tmp_path: Path) -> None:
    path = _add(tmp_path, b"one").with_name(".temporary")
    path.write_bytes(b"part")
    drop_altered_objects(tmp_path)
    assert path.is_file()
