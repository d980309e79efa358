import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

_DEADLINE_S = 60


def _wait_for(path: Path) -> int:
    """The process id that a hanging stage has written."""
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        if path.is_file() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    raise AssertionError("the stage did not start")


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # A dead process that nobody has waited for is still listed.
    status = Path(f"/proc/{process}/stat")
    return not status.is_file() or status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_build_stops_everything_and_goes_on(command_line: Any, number: int) -> None:
    started = command_line.root.parent / "started"
    command_line.behave(convert_base={"hang": str(started)})
    build = command_line.start("build", "--only", "convert-base")
    stage = _wait_for(started)
    build.send_signal(number)
    output, error = build.communicate(timeout=_DEADLINE_S)
    assert build.returncode == 130, error
    assert not _is_running(stage)
    assert error.endswith(
        "interrupted; what is finished is kept, run the same command again to go on\n"
    )
    assert "Traceback" not in error
    assert output == ""
    command_line.behave()
    again = command_line.run("build", "--only", "convert-base")
    assert "1 ran, 0 from the cache, 1 unchanged" in again.stdout


def test_build_in_the_background_of_a_script_stops_at_once(command_line: Any) -> None:
    """Such processes ignore SIGINT, which is how stages are asked to stop."""
    started = command_line.root.parent / "started"
    command_line.behave(fetch_base={"hang": str(started)})
    build = command_line.start(
        *("build", "--only", "fetch-base"),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    stage = _wait_for(started)
    # The kindest signal suffices: the stage has no time for others.
    os.kill(stage, signal.SIGINT)
    output, error = build.communicate(timeout=_DEADLINE_S)
    assert build.returncode == 5, (output, error)
    assert not _is_running(stage)


def test_second_build_of_the_same_stage_is_told_clearly(command_line: Any) -> None:
    started = command_line.root.parent / "started"
    command_line.behave(fetch_base={"hang": str(started)})
    first = command_line.start("build", "--only", "fetch-base")
    try:
        _wait_for(started)
        done = command_line.run("build", "--only", "fetch-base", code=5)
        assert "another build or DVC command is running here; wait for it" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=_DEADLINE_S)


def test_lock_of_dvc_is_told_clearly(command_line: Any) -> None:
    code = (
        "import time; from dvc.repo import Repo\n"
        "with Repo('.').lock: print('locked', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], cwd=command_line.root, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        for command in ("build", "plan"):
            done = command_line.run(command, code=5)
            assert "another" in done.stderr
            assert "Unable to acquire" not in done.stderr
    finally:
        holder.kill()
        holder.communicate()
