"""Packed weights that are kept for the next start, and shared by processes."""

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from integration.runner.conftest import Runner
from integration.runner.tiny_programs import TinyProgram

Alter = Callable[[Path, Path], None]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def command(program: TinyProgram, foundation: Path | None = None) -> list[str | Path]:
    return [
        *("--program", program.program, "--data", foundation or program.foundation),
        *("--tokens", "1,5,9,20", "--max-new-tokens", "6", "--json"),
    ]


def tokens_of(report: Any) -> list[int]:
    [answer] = report["programs"]
    tokens = answer["tokens"]
    assert isinstance(tokens, list)
    return tokens


def packed_file(cache: Path) -> Path:
    [path] = cache.glob("*.packed")
    return path


def test_the_first_start_packs_and_later_ones_find_it(
    runner: Runner, base: TinyProgram, cache: Path
) -> None:
    plain = runner.json(*command(base), "--no-packed-cache")
    assert plain["packed_cache"] is None
    cold = runner.json(*command(base), "--packed-cache", cache)
    packed = packed_file(cache)
    before = packed.read_bytes()
    assert cold["packed_cache"]["build_s"] > 0
    assert cold["packed_cache"]["path"] == str(packed)
    assert cold["packed_cache"]["bytes"] == len(before)
    warm = runner.json(*command(base), "--packed-cache", cache)
    assert warm["packed_cache"] == cold["packed_cache"] | {"build_s": 0.0}
    assert tokens_of(plain) == tokens_of(cold) == tokens_of(warm)
    assert packed.read_bytes() == before
    assert {path.suffix for path in cache.iterdir()} == {".packed", ".json", ""}
    assert cache.stat().st_mode & 0o777 == 0o700


def test_programs_over_one_foundation_share_the_file(
    runner: Runner, base: TinyProgram, adapter: TinyProgram, cache: Path
) -> None:
    runner.json(*command(base), "--packed-cache", cache)
    report = runner.json(*command(adapter, base.foundation), "--packed-cache", cache)
    assert report["packed_cache"]["build_s"] == 0
    assert tokens_of(report) == adapter.greedy([1, 5, 9, 20], 6)


def flip(packed: Path, _: Path) -> None:
    content = bytearray(packed.read_bytes())
    content[0:4096:5] = bytes(value ^ 0x40 for value in content[0:4096:5])
    packed.write_bytes(content)


def flip_and_hide(packed: Path, seal: Path) -> None:
    status = packed.stat()
    flip(packed, seal)
    os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))


def cut(packed: Path, _: Path) -> None:
    os.truncate(packed, packed.stat().st_size // 2)


def cut_the_end(packed: Path, _: Path) -> None:
    os.truncate(packed, packed.stat().st_size - 1)


def append(packed: Path, _: Path) -> None:
    with packed.open("ab") as file:
        file.write(b"more")


def lose_the_seal(_: Path, seal: Path) -> None:
    seal.unlink()


def damage_the_seal(_: Path, seal: Path) -> None:
    seal.write_bytes(seal.read_bytes()[:-20])


def seal_something_else(_: Path, seal: Path) -> None:
    content = json.loads(seal.read_text())
    content["packed"]["checksum"] ^= 1
    content["packed"]["inode"] ^= 1
    seal.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "alter",
    [
        *(flip, flip_and_hide, cut, cut_the_end, append),
        *(lose_the_seal, damage_the_seal, seal_something_else),
    ],
)
def test_a_file_that_was_altered_is_made_again(
    runner: Runner, base: TinyProgram, cache: Path, alter: Alter
) -> None:
    runner.json(*command(base), "--packed-cache", cache)
    packed = packed_file(cache)
    whole = packed.read_bytes()
    alter(packed, packed.with_suffix(".json"))
    report = runner.json(*command(base), "--packed-cache", cache)
    assert report["packed_cache"]["build_s"] > 0
    assert tokens_of(report) == base.greedy([1, 5, 9, 20], 6)
    assert len(packed_file(cache).read_bytes()) == len(whole)
    assert runner.json(*command(base), "--packed-cache", cache)["packed_cache"]["build_s"] == 0


def test_a_copied_folder_is_as_good(
    runner: Runner, base: TinyProgram, cache: Path, tmp_path: Path
) -> None:
    runner.json(*command(base), "--packed-cache", cache)
    shutil.copytree(cache, tmp_path / "copied")
    report = runner.json(*command(base), "--packed-cache", tmp_path / "copied")
    assert report["packed_cache"]["build_s"] == 0


def test_weights_of_a_damaged_foundation_do_not_outlive_it(
    runner: Runner, base: TinyProgram, cache: Path, tmp_path: Path
) -> None:
    foundation = tmp_path / "foundation.ptd"
    whole = base.foundation.read_bytes()
    tensors = int.from_bytes(whole[32:40], "little")
    # The index, which names the tensors by their sha256, stays as it is.
    foundation.write_bytes(whole[:tensors] + bytes(len(whole) - tensors))
    damaged = runner.json(*command(base, foundation), "--packed-cache", cache)
    assert damaged["packed_cache"]["build_s"] > 0
    foundation.write_bytes(whole)
    repaired = runner.json(*command(base, foundation), "--packed-cache", cache)
    assert repaired["packed_cache"]["build_s"] > 0
    assert tokens_of(repaired) == base.greedy([1, 5, 9, 20], 6) != tokens_of(damaged)


def test_processes_that_start_at_once_pack_once(
    runner: Runner, base: TinyProgram, cache: Path
) -> None:
    processes = [
        subprocess.Popen(
            [runner.program, *command(base), "--packed-cache", cache],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(6)
    ]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    reports = [json.loads(stdout) for stdout, _ in outputs]
    expected = base.greedy([1, 5, 9, 20], 6)
    assert [tokens_of(report) for report in reports] == [expected] * len(reports)
    assert sum(report["packed_cache"]["build_s"] > 0 for report in reports) == 1
    assert len({report["packed_cache"]["path"] for report in reports}) == 1
    packed_file(cache)


def test_the_oldest_foundation_goes_first(
    runner: Runner, base: TinyProgram, plain: TinyProgram, cache: Path
) -> None:
    def start(program: TinyProgram, limit: int) -> Any:
        options = ("--packed-cache", cache, "--packed-cache-max-bytes", str(limit))
        return runner.json(*command(program), *options)["packed_cache"]

    roomy = 1 << 30
    first, second = (start(program, roomy) for program in (base, plain))
    assert Path(first["path"]).exists()
    assert Path(second["path"]).exists()
    start(base, roomy)  # is the younger one now
    Path(second["path"]).with_suffix(".json").unlink()
    again = start(plain, first["bytes"] + second["bytes"] - 1)
    assert again["path"] == second["path"]
    assert not Path(first["path"]).exists()
    assert start(plain, roomy)["build_s"] == 0


def test_what_does_not_fit_is_not_kept(runner: Runner, base: TinyProgram, cache: Path) -> None:
    limit = ("--packed-cache", cache, "--packed-cache-max-bytes", "1000")
    done = runner.run(*command(base), *limit)
    assert json.loads(done.stdout)["packed_cache"] is None
    assert "packed weights are not kept: " in done.stderr
    assert "--packed-cache-max-bytes 1000; raise it" in done.stderr
    assert list(cache.glob("*.packed")) == []


def test_a_folder_that_cannot_be_is_refused_if_it_was_asked_for(
    runner: Runner, base: TinyProgram, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    message = runner.failure(*command(base), "--packed-cache", file / "cache")
    assert f"{file / 'cache'}: cannot make this directory" in message
    message = runner.failure(*command(base), "--packed-cache", tmp_path / ("x" * 250))
    assert "are possible; name a shorter one with --packed-cache" in message


def test_an_unusable_cache_of_the_user_is_done_without(
    runner: Runner, base: TinyProgram, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    done = runner.run(*command(base), environment={"PTEFOUNDRY_CACHE": str(file)})
    assert done.returncode == 0
    assert tokens_of(json.loads(done.stdout)) == base.greedy([1, 5, 9, 20], 6)
    assert f"packed weights are not kept: {file}/packed" in done.stderr


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"PTEFOUNDRY_CACHE": "{}/own", "XDG_CACHE_HOME": "{}/xdg"}, "own/packed"),
        ({"PTEFOUNDRY_CACHE": "", "XDG_CACHE_HOME": "{}/xdg"}, "xdg/ptefoundry/packed"),
        (
            {"PTEFOUNDRY_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "{}/home"},
            "home/.cache/ptefoundry/packed",
        ),
    ],
)
def test_the_users_cache_is_where_it_should_be(
    runner: Runner, base: TinyProgram, tmp_path: Path, variables: dict[str, str], folder: str
) -> None:
    environment = {name: value.format(tmp_path) for name, value in variables.items()}
    done = runner.run(*command(base), environment=environment)
    assert json.loads(done.stdout)["packed_cache"]["path"].startswith(str(tmp_path / folder))


def test_a_disk_that_is_full_costs_the_cache_only(
    runner: Runner, base: TinyProgram, cache: Path
) -> None:
    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

    done = subprocess.run(
        [runner.program, *command(base), "--packed-cache", cache],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=limit_files,
    )
    assert tokens_of(json.loads(done.stdout)) == base.greedy([1, 5, 9, 20], 6)
    assert "packed weights are not kept: the process that packs them was killed" in done.stderr
    later = runner.json(*command(base), "--packed-cache", cache)
    assert later["packed_cache"]["build_s"] > 0
    assert list(cache.glob("*.tmp")) == []
