"""The build on a pseudo-terminal: a live line for the running stage."""

import os
import pty
import re
import select
import signal
import subprocess
import time
from typing import Any

import pytest

_DEADLINE_S = 120


def _start(line: Any, *arguments: str) -> tuple["subprocess.Popen[bytes]", int]:
    """Start the command as the foreground of a new terminal; returns the terminal's other end."""
    ours, theirs = pty.openpty()
    environment = {**line.environment, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [line.program, *arguments],
        cwd=line.root,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: _take_terminal(theirs),  # noqa: PLW1509  there are no threads
    )
    os.close(theirs)
    return process, ours


def _take_terminal(terminal: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def _read(terminal: int, until: str | None = None) -> str:
    """What appears on the terminal, up to a text or the end."""
    shown, deadline = b"", time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 1)
        if not ready:
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        shown += part
        if not part or (until is not None and until.encode() in shown):
            break
    return shown.decode(errors="replace")


def _without_control(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_running_stage_is_live_and_finished_ones_stay(command_line: Any) -> None:
    command_line.behave(convert_base={"progress": 200})
    process, terminal = _start(command_line, "build", "--only", "convert-base")
    shown = _read(terminal)
    process.wait(_DEADLINE_S)
    os.close(terminal)
    plain = _without_control(shown)
    assert process.returncode == 0, plain
    assert "convert-base  weights 50 %" in plain
    assert "ptefoundry-progress" not in plain
    assert re.search(r"fetch-base +ran +\d+\.\d s +22 B", plain)
    assert re.search(r"convert-base +ran +\d+\.\d s", plain)
    # The live line moves the cursor; nothing of it is left at the end.
    assert "\x1b[2K" in shown
    assert plain.rstrip().endswith(" s")


def test_unchanged_stages_are_only_counted(built: Any) -> None:
    process, terminal = _start(built, "build")
    plain = _without_control(_read(terminal))
    process.wait(_DEADLINE_S)
    os.close(terminal)
    assert "19 unchanged" in plain
    assert "fetch-base" not in plain


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_the_build(command_line: Any, times: int) -> None:
    command_line.behave(fetch_base={"hang": str(command_line.root.parent / "started")})
    process, terminal = _start(command_line, "build", "--only", "fetch-base")
    try:
        shown = _read(terminal, until="fetch-base")
        deadline = time.monotonic() + _DEADLINE_S
        while not (command_line.root.parent / "started").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for _ in range(times):
            os.write(terminal, b"\x03")
        shown += _read(terminal)
        assert process.wait(_DEADLINE_S) == 130
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        os.close(terminal)
    assert "run the same command again" in shown
    assert "Traceback" not in shown
