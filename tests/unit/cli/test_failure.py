import errno
from pathlib import Path

import pytest

from ptefoundry.cli.failure import StageFailedError, explain_failure, explain_os_error
from ptefoundry.errors import BuildError


def _explain(text: str) -> BuildError:
    return explain_failure(text.splitlines(), root=Path("root"), log=Path("the.log"))


def _failed(code: int) -> str:
    return f"ERROR: failed to reproduce 'link@a': failed to run: python -m x, exited with {code}\n"


@pytest.mark.parametrize(("code", "ours"), [(2, 2), (3, 3), (4, 4), (6, 6), (1, 5), (77, 5)])
def test_exit_code_of_the_stage_goes_on(code: int, ours: int) -> None:
    error = _explain(f"> python -m x\nerror: what happened\n{_failed(code)}")
    assert isinstance(error, StageFailedError)
    assert error.exit_code == ours
    assert str(error) == f"stage link@a failed (exit code {code}): what happened"


def test_whole_error_of_the_stage_is_shown_once() -> None:
    error = _explain(f"noise\nerror: not the last\nerror: refused:\n- one\n- two\n\n{_failed(3)}")
    assert str(error).endswith("): refused:\n- one\n- two")
    assert "noise" not in str(error)


def test_crash_shows_the_last_lines_and_the_log() -> None:
    lines = "".join(f"line {number}\n" for number in range(50))
    text = str(_explain(f"{lines}ValueError: wrong\n{_failed(1)}"))
    assert "line 49\nValueError: wrong" in text
    assert "line 10\n" not in text
    assert "the.log" in text


def test_kill_is_told_as_such() -> None:
    error = _explain(f"> python\n{_failed(-9)}")
    assert "stopped by signal 9; the machine may have run out of memory" in str(error)
    assert error.exit_code == BuildError.exit_code


@pytest.mark.parametrize(
    "text",
    [
        "ERROR: Unable to acquire lock. Most likely another DVC process is running\n",
        "ERROR: failed to reproduce 'a': 'b' is busy, it is being blocked by:\n  (PID 1): dvc\n",
    ],
)
def test_lock_is_told_clearly(text: str) -> None:
    assert "root: another build or DVC command is running here" in str(_explain(text))


def test_failure_of_dvc_with_a_stage_names_it() -> None:
    text = str(_explain("ERROR: failed to reproduce 'a': output 'x' does not exist\n"))
    assert "stage a: output 'x' does not exist" in text


def test_other_failures_of_dvc_are_shown() -> None:
    text = str(_explain("noise\nERROR: configuration error - config file error: x\nmore\n"))
    assert text.startswith("DVC failed: configuration error - config file error: x\nmore\n")
    assert "validation failed" in str(_explain("'./dvc.yaml' validation failed.\n"))


@pytest.mark.parametrize(
    ("output", "where"),
    [
        (f"Traceback\nOSError: [Errno 28] No space left on device: 'x'\n{_failed(1)}", "link@a"),
        (f"error: x: no room on the disk\n{_failed(1)}", "link@a"),
        ("ERROR: failed to reproduce 'a': [Errno 28] No space left on device: 'x'\n", "stage a"),
        ("ERROR: unexpected error - [Errno 122] Disk quota exceeded: 'x'\n", "DVC"),
    ],
)
def test_a_full_disk_is_told_whoever_met_it(output: str, where: str) -> None:
    text = str(_explain(output))
    assert where in text
    assert "no room on the disk (" in text
    assert "then run again" in text


def test_an_error_of_the_system_is_told_with_what_helps() -> None:
    assert "make room" in explain_os_error(OSError(errno.ENOSPC, "No space left on device", "x"))
    assert explain_os_error(OSError(errno.EIO, "bad", "x")) == "[Errno 5] bad: 'x'"
