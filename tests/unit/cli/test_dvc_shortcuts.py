"""With the shortcuts DVC decides as without."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ptefoundry.cli.dvc_shortcuts import shortcuts

_GRAPH = """\
stages:
  write:
    matrix:
      name: [a, b, c]
    cmd: mkdir ${item.name} && echo ${item.name} > ${item.name}/file
    params:
      - sizes.${item.name}
    outs:
      - ${item.name}
"""


def _write_workspace(folder: Path) -> None:
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True)
    (folder / "dvc.yaml").write_text(_GRAPH)
    (folder / "params.yaml").write_text("sizes: {a: 1, b: [2], c: {d: 3}}\n")


def _repro(folder: Path, module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, "repro"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_dvc_leaves_the_same_files(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("dvc", "ptefoundry.cli.dvc_process")}
    for module, folder in folders.items():
        folder.mkdir()
        _write_workspace(folder)
        assert _repro(folder, module).count("Running stage") == 3
        (folder / "params.yaml").write_text("sizes: {a: 1, b: [3], c: {d: 3}}\n")
        assert _repro(folder, module).count("Running stage") == 1
        assert _repro(folder, module).count("Running stage") == 0
    found = [
        {
            path.relative_to(folder): path.read_bytes()
            for part in ("dvc.lock", ".dvc/cache")
            for path in (folder / part, *(folder / part).rglob("*"))
            if path.is_file()
        }
        for folder in folders.values()
    ]
    assert found[0] == found[1]
    assert len(found[0]) > 3 + 3  # dvc.lock, the files and lists, the notes of four runs


def test_locks_that_are_held_are_not_taken_again(tmp_path: Path) -> None:
    from dvc import rwlock
    from dvc.fs import localfs
    from dvc.lock import LockError

    file = tmp_path / rwlock.RWLOCK_FILE

    def lock(read: list[str], write: list[str]) -> object:
        return rwlock.rwlock(str(tmp_path), localfs, "x", read, write, hardlink=False)

    with shortcuts():
        with lock(["/in"], ["/out"]):
            held = file.stat().st_mtime_ns
            with lock(["/in", "/out"], []), lock([], ["/out"]):
                assert file.stat().st_mtime_ns == held
            with lock(["/other"], []):
                assert "/other" in json.loads(file.read_text())["read"]
            locks = json.loads(file.read_text())
            assert (list(locks["read"]), list(locks["write"])) == (["/in"], ["/out"])
            with pytest.raises(LockError):
                _lock_elsewhere(tmp_path, ["/out"])
        assert not any(json.loads(file.read_text()).values())


def _lock_elsewhere(folder: Path, write: list[str]) -> None:
    """As another process would."""
    from dvc import rwlock
    from dvc.lock import LockError

    script = (
        "import sys; from dvc.rwlock import rwlock; from dvc.fs import localfs\n"
        "with rwlock(sys.argv[1], localfs, 'y', [], sys.argv[2:], False): pass"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, folder, *write], capture_output=True, text=True, check=False
    )
    if done.returncode:
        assert rwlock.RWLOCK_FILE in done.stderr
        raise LockError(done.stderr)


def test_values_are_those_that_dvc_finds(tmp_path: Path) -> None:
    from dvc.dependency.param import read_param_file
    from dvc.fs import localfs

    path = tmp_path / "params.yaml"
    path.write_text("a: {b: {c: [1, {d: 2}]}, none: null}\n'x*y': 1\nxzy: {b: 3}\n")
    asked = ["a", "a.b", "a.b.c.1.d", "a.none", "a.missing", "a.none.more", "a.*.c.0", "a.n*", "b"]
    plain = read_param_file(localfs, str(path), asked, flatten=True)
    with shortcuts():
        assert read_param_file(localfs, str(path), asked, flatten=True) == plain
    assert plain["a.none"] is None
    assert "a.missing" not in plain


def test_lists_in_memory_are_dropped_with_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.stage import PipelineStage
    from fsspec.implementations.memory import MemoryFileSystem

    dumped: list[object] = []
    monkeypatch.setattr(PipelineStage, "dump", lambda stage, **_options: dumped.append(stage))
    stage = SimpleNamespace()
    with shortcuts():
        MemoryFileSystem().pipe_file("memory://list", b"x")
        PipelineStage.dump(stage, update_pipeline=False)
    assert dumped == [stage]
    assert not MemoryFileSystem.store
