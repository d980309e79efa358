"""Pulling to disks that are full, and onto disks that forget."""

from pathlib import Path

import pytest

from support.extents import is_shared
from support.golden_registry import GOLDEN
from support.shell import Shell
from support.small_disk import cloning_disk, small_disk

KIB = 1 << 10
URL = f"file:{GOLDEN}"


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_full_disk_of_the_target_is_told_before_anything_is_fetched(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    pull = ("pull", URL, "tiny@1.0.0", "--to", "disk/app")
    with small_disk(tmp_path / "disk", 256 * KIB) as disk:
        shell.enter = tuple(disk.command(tmp_path))
        refused = shell.refuse(*pull, code=1)
        assert "app with 12 new files needs" in refused
        assert "name a target on another disk" in refused
        fetched = [path.stat().st_size for path in shell.home.rglob("blobs/*/*")]
        assert max(fetched) < 16 * KIB, "more than documents"
        disk.resize(2048 * KIB)
        assert shell.json(*pull)["changed_files"] == 12


def test_a_bit_that_the_disk_lost_is_found_offline_and_mended(shell: Shell) -> None:
    pull = ("pull", URL, "tiny@1.0.0", "--to", "app")
    shell.run(*pull)
    checked = shell.json("verify", "app")
    assert (checked["name"], checked["files"], checked["version"]) == ("tiny", 7, None)
    _flip(shell.folder / "app" / "xnnpack" / "red.pte")
    refused = shell.start("verify", "app")
    _, error = refused.communicate()
    assert refused.returncode == 6
    assert "1 differences from the manifest:\n  xnnpack/red.pte: expected sha256" in error
    mended = shell.json(*pull, "--rehash")
    assert mended["changed_files"] == 1
    assert "are as the manifest says" in shell.run("verify", "app")


@pytest.mark.parametrize("changed", [False, True], ids=["empty", "older"])
def test_where_the_disk_can_the_target_is_a_clone_of_the_cache(
    shell: Shell, tmp_path: Path, *, changed: bool
) -> None:
    """Files of their own that share the bytes: neither hard links nor copies."""
    (tmp_path / "disk").mkdir()
    with cloning_disk(tmp_path / "disk", tmp_path / "image") as disk:
        shell.enter = tuple(disk.command(tmp_path))
        shell.environment = {"PTEFOUNDRY_CACHE": str(tmp_path / "disk" / "cache")}
        if changed:
            shell.run("pull", URL, "tiny@1.1.0", "--to", "disk/app")
        shell.run("pull", URL, "tiny@1.0.0", "--to", "disk/app")
        program = disk.seen(tmp_path / "disk" / "app" / "xnnpack" / "red.pte")
        assert program.stat().st_nlink == 1
        assert is_shared(program)
        shell.run("verify", "disk/app")
        # What was cached stays whole when its clone is damaged.
        _flip(program)
        assert not is_shared(program)
        mended = shell.json("pull", URL, "tiny@1.0.0", "--to", "disk/app", "--rehash")
        assert (mended["changed_files"], mended["received_bytes"]) == (1, 0)
        assert is_shared(program)
