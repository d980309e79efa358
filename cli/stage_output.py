"""Understanding what `dvc repro` and its stages print, line by line.

DVC announces each stage before its output, so one pipe for both tells which line
belongs to which stage.
"""

import re
import time
from typing import Literal, Protocol

from ptefoundry.peak_memory import parse_peak
from ptefoundry.report import ProgressLine, parse_progress

Result = Literal["ran", "cached", "unchanged"]
"""`cached`: its outputs came from the cache, as it had run with the same inputs before."""

_ANNOUNCED = re.compile(
    r"Running stage '(?P<ran>.+)':"
    r"|Stage '(?P<cached>.+)' is cached - skipping run, checking out outputs"
    r"|Stage '(?P<unchanged>.+)' didn't change, skipping"
)
_FAILED = re.compile(r"ERROR: failed to reproduce '(?P<stage>.+?)': ")
_WARNING = re.compile(r"warning: |WARNING: ")


class StageListener(Protocol):
    """Is told what happens to stages."""

    def started(self, stage: str) -> None:
        """A stage runs, or is restored from the cache."""

    def progressed(self, progress: ProgressLine) -> None:
        """The running stage got on."""

    def said(self, line: str) -> None:
        """The running stage, or DVC, printed something that the user should see."""

    def measured(self, max_rss_bytes: int) -> None:
        """The running stage is about to end, and had so much memory at once."""

    def finished(self, stage: str, result: Result, seconds: float) -> None:
        """A stage is up to date."""


class StageReader:
    """Turns lines of output into calls of a listener."""

    def __init__(self, listener: StageListener, *, verbose: bool) -> None:
        """Start before the first line; `verbose` passes on all that is printed."""
        self.output: list[str] = []
        """What was printed since the last stage was announced."""
        self._listener = listener
        self._verbose = verbose
        self._running: tuple[str, Result, float] | None = None
        self._in_warning = False

    def feed(self, line: str) -> None:
        """Take the next line, without its end."""
        if progress := parse_progress(line):
            self._listener.progressed(progress)
        elif (peak := parse_peak(line)) is not None:
            self._listener.measured(peak)
        elif announced := _ANNOUNCED.fullmatch(line):
            self.finish()
            self._announce(announced)
        else:
            self._note_failure(line)
            self.output.append(line)
            # Further lines of a warning are indented.
            self._in_warning = bool(_WARNING.match(line)) or (self._in_warning and line[:1] == " ")
            if self._verbose or self._in_warning:
                self._listener.said(line)

    def finish(self) -> None:
        """The stage that was announced last has succeeded."""
        if self._running is not None:
            stage, result, started = self._running
            self._listener.finished(stage, result, time.monotonic() - started)
            self._running = None

    def _note_failure(self, line: str) -> None:
        """DVC can fail with a stage that it had not announced yet: the one before is done."""
        failed = _FAILED.match(line)
        if failed and self._running and failed["stage"] != self._running[0]:
            self.finish()

    def _announce(self, announced: "re.Match[str]") -> None:
        self.output.clear()
        if stage := announced["unchanged"]:
            self._listener.finished(stage, "unchanged", 0.0)
            return
        stage = announced["ran"] or announced["cached"]
        self._running = (stage, "ran" if announced["ran"] else "cached", time.monotonic())
        self._listener.started(stage)
