"""Objects that somebody has altered are dropped, and right ones hashed only once."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from dvc.stage.cache import _get_cache_hash

from ptefoundry.cli import local_cache
from ptefoundry.cli.local_cache import drop_altered_files, remember_files


def _add(root: Path, content: bytes, suffix: str = "") -> Path:
    name = hashlib.md5(content).hexdigest() + suffix
    path = root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _add_run(runs: Path, number: int) -> Path:
    """A note as DVC writes it."""
    out = {"path": "out", "hash": "md5", "md5": "0" * 32, "size": 1}
    dep = {"path": "in", "hash": "md5", "md5": "2" * 32, "size": 1}
    entry = {"cmd": f"make {number}", "deps": [dep], "outs": [out]}
    key, value = _get_cache_hash(dict(entry), key=True), _get_cache_hash(dict(entry))
    path = runs / key[:2] / key / value
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(entry))
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
    drop_altered_files(tmp_path)
    (tmp_path / ".dvc").mkdir()
    drop_altered_files(tmp_path)
    remember_files(tmp_path)
    assert list((tmp_path / ".dvc").iterdir()) == []


def test_altered_and_cut_objects_are_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = [_add(tmp_path, b"right"), _add(tmp_path, b"[]", ".dir")]
    wrong = [_add(tmp_path, b"altered"), _add(tmp_path, b"cut short")]
    wrong[0].write_bytes(b"alterED")
    wrong[1].write_bytes(b"cut")
    drop_altered_files(tmp_path)
    assert all(path.is_file() for path in right)
    assert not any(path.is_file() for path in wrong)
    error = capsys.readouterr().err
    assert "dropped 2 altered files" in error
    assert f"files/md5/{wrong[0].parent.name}/{wrong[0].name}" in error


def test_what_was_checked_is_hashed_again_only_when_it_changes(
    tmp_path: Path, hashed: list[Path]
) -> None:
    path = _add(tmp_path, b"one")
    drop_altered_files(tmp_path)
    drop_altered_files(tmp_path)
    assert hashed == [path]
    os.utime(path, ns=(1, 1))
    drop_altered_files(tmp_path)
    assert hashed == [path, path]
    path.write_bytes(b"two")
    drop_altered_files(tmp_path)
    assert not path.exists()


def test_what_a_build_added_is_not_hashed_again(tmp_path: Path, hashed: list[Path]) -> None:
    old = _add(tmp_path, b"old")
    drop_altered_files(tmp_path)
    new = _add(tmp_path, b"new")
    old.write_bytes(b"OLD")
    remember_files(tmp_path)
    hashed.clear()
    drop_altered_files(tmp_path)
    assert hashed == [old]
    assert new.is_file()
    assert not old.exists()


def test_a_damaged_memory_is_made_anew(tmp_path: Path, hashed: list[Path]) -> None:
    path = _add(tmp_path, b"one")
    memory = tmp_path / ".dvc" / "cache" / "ptefoundry-checked.json"
    memory.write_text('{"1": 2')
    drop_altered_files(tmp_path)
    drop_altered_files(tmp_path)
    assert hashed == [path]


def test_altered_notes_of_runs_are_dropped_with_their_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DVC believes them, and fails with a TypeError where a folder of theirs is empty."""
    runs = tmp_path / ".dvc" / "cache" / "runs"
    _add(tmp_path, b"one")
    right, altered, cut = (_add_run(runs, number) for number in range(3))
    altered.write_text(altered.read_text().replace("0" * 32, "1" * 32))
    cut.write_text(cut.read_text()[:50])
    (old := runs / "ab" / ("ab" * 32)).mkdir(parents=True)
    (new := runs / "cd" / ("cd" * 32)).mkdir(parents=True)
    os.utime(old, (1, 1))
    drop_altered_files(tmp_path)
    assert [path for path in runs.rglob("*") if path.is_file()] == [right]
    assert set(runs.glob("??/*")) == {right.parent, new}
    assert "dropped 2 altered files" in capsys.readouterr().err


def test_files_that_are_being_written_are_left_alone_for_a_day(tmp_path: Path) -> None:
    path = _add(tmp_path, b"one").with_name(".part-x.tmp")
    path.write_bytes(b"part")
    drop_altered_files(tmp_path)
    assert path.is_file()
    os.utime(path, (time.time() - 90_000,) * 2)
    drop_altered_files(tmp_path)
    assert not path.exists()
