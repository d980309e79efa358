import hashlib
from pathlib import Path

import pytest

from ptefoundry.base.sources import content_digest
from ptefoundry.base.sources.content import file_sizes
from ptefoundry.digest import hash_tree
from ptefoundry.files import assembled_folder


def test_one_file_is_pinned_by_its_own_sha256(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "model.gguf").write_bytes(b"GGUF")

    assert content_digest(tmp_path) == hashlib.sha256(b"GGUF").hexdigest()


def test_several_files_are_pinned_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")

    assert content_digest(tmp_path) == hash_tree(tmp_path)


def test_sizes_by_relative_path(tmp_path: Path) -> None:
    (tmp_path / "original").mkdir()
    (tmp_path / "original" / "params.json").write_bytes(b"{}")
    (tmp_path / "a").write_bytes(b"")

    assert file_sizes(tmp_path) == {"a": 0, "original/params.json": 2}


def test_folder_appears_only_when_whole(tmp_path: Path) -> None:
    into = tmp_path / "deep" / "out"
    with assembled_folder(into) as folder:
        (folder / "new").write_text("new")
        assert not into.exists()

    assert [path.name for path in into.iterdir()] == ["new"]
    assert [path.name for path in into.parent.iterdir()] == ["out"]


def test_older_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    into = tmp_path / "out"
    into.mkdir()
    (into / "old").write_text("old")

    with assembled_folder(into) as folder:
        assert (into / "old").exists()
        (folder / "new").write_text("new")

    assert [path.name for path in into.iterdir()] == ["new"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    into = tmp_path / "out"
    into.mkdir()
    (into / "old").write_text("old")

    def fail() -> None:
        with assembled_folder(into) as folder:
            (folder / "new").write_text("new")
            raise error

    with pytest.raises(error):
        fail()

    assert list(tmp_path.iterdir()) == []


def test_link_in_place_of_the_folder_is_replaced_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").write_text("keep")
    into = tmp_path / "out"
    into.symlink_to(other)

    with assembled_folder(into) as folder:
        (folder / "new").write_text("new")

    assert (other / "precious").exists()
    assert not into.is_symlink()


def test_remains_of_a_killed_process_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".out.tmp").mkdir()
    (tmp_path / ".out.tmp" / "half").write_text("half")

    with assembled_folder(tmp_path / "out") as folder:
        (folder / "new").write_text("new")

    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]
