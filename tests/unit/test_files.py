import os
from pathlib import Path

import pytest

from ptefoundry.files import assembled_folder, atomic_writer, place, write_json, write_text


def _write_and_fail(path: Path) -> None:
    with atomic_writer(path) as file:
        file.write(b"half")
        raise RuntimeError


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(RuntimeError):
        _write_and_fail(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_written_file_has_the_umask_s_mode(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "text")
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_json_is_sorted_and_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "ü"})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": "ü",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", {"a": float("nan")})
    assert not (tmp_path / "b.json").exists()


def _assemble(into: Path, *, fail: bool) -> None:
    with assembled_folder(into) as folder:
        (folder / "new").write_text("new")
        if fail:
            raise RuntimeError


def test_assembled_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    into = tmp_path / "out"
    into.mkdir()
    (into / "old").write_text("old")
    _assemble(into, fail=False)
    assert os.listdir(into) == ["new"]
    assert os.listdir(tmp_path) == ["out"]


def test_failed_assembly_leaves_no_folder(tmp_path: Path) -> None:
    into = tmp_path / "out"
    _assemble(into, fail=False)
    with pytest.raises(RuntimeError):
        _assemble(into, fail=True)
    assert os.listdir(tmp_path) == []


def test_leftovers_of_a_killed_process_are_replaced(tmp_path: Path) -> None:
    leftover = tmp_path / ".out.tmp"
    leftover.mkdir()
    (leftover / "half").write_text("half")
    _assemble(tmp_path / "out", fail=False)
    assert os.listdir(tmp_path / "out") == ["new"]
    assert os.listdir(tmp_path) == ["out"]


def test_placed_file_shares_its_bytes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("text")
    (tmp_path / "target").write_text("old")
    place(source, tmp_path / "target")
    assert (tmp_path / "target").stat().st_ino == source.stat().st_ino


def test_place_copies_where_links_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    source = tmp_path / "source"
    source.write_text("text")
    place(source, tmp_path / "deep" / "target")
    assert (tmp_path / "deep" / "target").read_text() == "text"
