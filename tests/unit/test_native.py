import os
from pathlib import Path

from ptefoundry.native import RUNNER_PROGRAM, runner_program


def test_a_runner_out_of_a_cache_is_made_executable_in_a_copy(tmp_path: Path) -> None:
    cached, program = tmp_path / "cached", tmp_path / "runner" / RUNNER_PROGRAM
    cached.write_bytes(b"code")
    cached.chmod(0o444)
    program.parent.mkdir(parents=True)
    os.link(cached, program)
    assert runner_program(tmp_path / "runner") == program
    assert os.access(program, os.X_OK)
    assert program.read_bytes() == b"code"
    assert cached.stat().st_mode & 0o777 == 0o444
    assert list(program.parent.iterdir()) == [program]
    inode = program.stat().st_ino
    runner_program(tmp_path / "runner")
    assert program.stat().st_ino == inode
