import multiprocessing
import shutil
import time
from pathlib import Path

import pytest

from ptefoundry.base.sources.cache import downloads, keep_content, locked, take_content
from ptefoundry.base.sources.content import content_digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "original").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "original" / "params.json").write_text("{}")
    return folder


def test_content_comes_back_by_its_digest(folder: Path, tmp_path: Path) -> None:
    cache, into = tmp_path / "cache", tmp_path / "into"
    digest = content_digest(folder)
    keep_content(cache, digest, folder)
    keep_content(cache, digest, folder)

    assert take_content(cache, digest, into)
    assert content_digest(into) == digest


def test_content_needs_no_space_of_its_own(folder: Path, tmp_path: Path) -> None:
    keep_content(tmp_path / "cache", "a" * 64, folder)

    stored = tmp_path / "cache" / "content" / ("a" * 64) / "config.json"
    assert stored.samefile(folder / "config.json")


def test_unknown_content_is_not_there(tmp_path: Path) -> None:
    assert not take_content(tmp_path / "cache", "a" * 64, tmp_path / "into")


def test_content_that_lost_a_file_is_dropped(folder: Path, tmp_path: Path) -> None:
    cache, into = tmp_path / "cache", tmp_path / "into"
    digest = content_digest(folder)
    keep_content(cache, digest, folder)
    (cache / "content" / digest / "config.json").unlink()

    assert not take_content(cache, digest, into)
    assert not into.exists()
    keep_content(cache, digest, folder)
    assert take_content(cache, digest, into)


def test_specs_that_read_alike_have_folders_of_their_own(tmp_path: Path) -> None:
    specs = ["s3://a/b.c", "s3://a/b/c", "s3://a/b-c"]

    assert len({downloads(tmp_path, spec) for spec in specs}) == len(specs)


def test_second_process_waits_for_the_first(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with locked(tmp_path, "https://host/file"):
        process = context.Process(target=touch_when_free, args=(tmp_path,))
        process.start()
        time.sleep(0.2)
        assert not (tmp_path / "free").exists()
    process.join(10)

    assert process.exitcode == 0
    assert (tmp_path / "free").exists()


def test_lock_survives_removal_of_the_downloads(tmp_path: Path) -> None:
    with locked(tmp_path, "https://host/file"):
        shutil.rmtree(downloads(tmp_path, "https://host/file"), ignore_errors=True)

    assert [path.suffix for path in (tmp_path / "downloads").iterdir()] == [".lock"]


def touch_when_free(cache: Path) -> None:
    with locked(cache, "https://host/file"):
        (cache / "free").touch()
