"""Running `dvc repro` in a workspace, and stopping it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

from ptefoundry.peak_memory import parse_peak
from ptefoundry.report import PROGRESS_VARIABLE, parse_progress

from .dvc_files import check_dvc
from .failure import explain_failure
from .stage_forks import fork_server
from .stage_output import StageListener, StageReader

LOG_FILE = Path(".dvc") / "tmp" / "ptefoundry-build.log"
"""All that the last build printed; git ignores it."""

_DVC = "ptefoundry.cli.dvc_process"
#: Signals from the kindest on, each with the seconds that it is given.
_STOPPING = ((signal.SIGINT, 30.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, None))


def run_stages(
    root: Path, targets: Sequence[str], listener: StageListener, *, verbose: bool = False
) -> None:
    """Bring stages of a workspace up to date.

    Args:
        root: the workspace.
        targets: stages, which are built with all that they need; none for everything.
        listener: is told what happens.
        verbose: pass on all that stages print.

    Raises:
        ConfigError: the workspace is no DVC repository.
        BuildError: a stage or DVC failed, or another build is running.
        KeyboardInterrupt: this process was interrupted; all others have stopped.
    """
    check_dvc(root)
    reader = StageReader(listener, verbose=verbose)
    with signals_interrupt(), dvc_running(root, targets) as dvc, open_log(root) as log:
        assert dvc.stdout is not None
        follow(dvc.stdout, reader, log)
        succeeded = dvc.wait() == 0
    conclude(root, reader, succeeded=succeeded)


def open_log(root: Path) -> TextIO:
    """The file for all that a build prints, emptied."""
    log = root / LOG_FILE
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.open("w")


def follow(lines: Iterable[str], reader: StageReader, log: TextIO) -> None:
    """Read what DVC and the stages print, until it ends, and keep it but for measurements."""
    for line in lines:
        text = line.rstrip("\n")
        if parse_progress(text) is None and parse_peak(text) is None:
            log.write(f"{text}\n")
        reader.feed(text)


def conclude(root: Path, reader: StageReader, *, succeeded: bool) -> None:
    """Finish the last stage, or raise what made DVC fail.

    Raises:
        BuildError: it failed.
    """
    if not succeeded:
        raise explain_failure(reader.output, root=root, log=root / LOG_FILE)
    reader.finish()


@contextmanager
def dvc_running(root: Path, targets: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    """The process of `dvc repro`, with its output to read; it does not outlive the block."""
    with fork_server(root) as (variables, start_forks):
        with _interruptible_children():
            dvc = subprocess.Popen(
                # Unbuffered, so that stages are announced when they start.
                [sys.executable, "-u", "-m", _DVC, "repro", *targets],
                cwd=root,
                env=_environment() | variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                # Its own group, as DVC itself ignores interrupts while a stage runs: the
                # stage must be signalled too.
                process_group=0,
            )
            start_forks(dvc.pid)
        try:
            yield dvc
        finally:
            if dvc.poll() is None:
                _stop(dvc)


def _environment() -> dict[str, str]:
    """What DVC and the stages run with: this Python as `python`, and no surprises."""
    bin_folder = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        # DVC runs commands in the user's shell.
        "SHELL": "/bin/sh",
        PROGRESS_VARIABLE: "lines",
        "DVC_NO_ANALYTICS": "1",
    }


def _stop(dvc: "subprocess.Popen[str]") -> None:
    """End DVC and its stage, by force if they take too long or the user insists."""
    for number, patience_s in _STOPPING:
        try:
            os.killpg(dvc.pid, number)
            dvc.communicate(timeout=patience_s)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue
        except ProcessLookupError:
            pass
        return


@contextmanager
def _interruptible_children() -> Iterator[None]:
    """Let processes that start here be interrupted, even where this one ignores that.

    A shell's background jobs ignore SIGINT and so would all that they start, which
    then stops only by harder signals.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Treat the requests to end like Ctrl-C, so that no stage is left running."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
