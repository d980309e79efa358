"""Showing a build: one live line on a terminal, plain lines elsewhere."""

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.report import ProgressLine, format_size

from .dvc_files import output_size
from .output import make_console
from .stage_output import Result

if TYPE_CHECKING:
    from rich.progress import TaskID

_NAME_WIDTH = 32


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a build did with one stage."""

    name: str
    result: Result
    seconds: float
    bytes: int | None
    """Of its outputs; None if it was not touched."""
    max_rss_bytes: int | None
    """Most memory that it had at once (see `max_rss_bytes`); None if it did not run."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}

    def __str__(self) -> str:
        text = f"{self.name:<{_NAME_WIDTH}} {self.result:<9}"
        if self.result != "unchanged":
            text += f" {self.seconds:>8.1f} s  {format_size(self.bytes or 0):>10}"
        if self.max_rss_bytes is not None:
            text += f"  {format_size(self.max_rss_bytes):>10} RSS"
        return text.rstrip()


class PlainDisplay:
    """One line on stderr for every stage once it is up to date."""

    def __init__(self, root: Path) -> None:
        """Show stages of the workspace `root`."""
        self.results: list[StageResult] = []
        self._root = root
        self._max_rss_bytes: int | None = None

    def open(self) -> AbstractContextManager[object]:
        """What the build runs inside of."""
        return nullcontext()

    def started(self, stage: str) -> None:
        """See `StageListener`."""

    def progressed(self, progress: ProgressLine) -> None:
        """See `StageListener`."""

    def said(self, line: str) -> None:
        """See `StageListener`."""
        self._print(line)

    def measured(self, max_rss_bytes: int) -> None:
        """See `StageListener`."""
        self._max_rss_bytes = max_rss_bytes

    def finished(self, stage: str, result: Result, seconds: float) -> None:
        """See `StageListener`."""
        size = None if result == "unchanged" else output_size(self._root, stage)
        done = StageResult(
            name=stage,
            result=result,
            seconds=seconds,
            bytes=size,
            max_rss_bytes=self._max_rss_bytes,
        )
        self._max_rss_bytes = None
        self.results.append(done)
        self._show(done)

    def _show(self, done: StageResult) -> None:
        self._print(str(done))

    def _print(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class LiveDisplay(PlainDisplay):
    """A line on the terminal for the running stage, replaced by its result."""

    def __init__(self, root: Path) -> None:
        """Show stages of the workspace `root`."""
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        super().__init__(root)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=make_console(stderr=True), transient=True)
        self._task: TaskID | None = None
        self._stage = ""

    def open(self) -> AbstractContextManager[object]:
        """Keeps the live line on the terminal."""
        return self._progress

    def started(self, stage: str) -> None:
        """See `StageListener`."""
        self._stage = stage
        self._task = self._progress.add_task(stage, total=None)

    def progressed(self, progress: ProgressLine) -> None:
        """See `StageListener`."""
        if self._task is not None:
            description = f"{self._stage}  {_describe(progress)}"
            self._progress.update(self._task, description=description)

    def _show(self, done: StageResult) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        # Most stages are unchanged; the summary counts them.
        if done.result != "unchanged":
            self._print(str(done))

    def _print(self, line: str) -> None:
        self._progress.console.print(line, soft_wrap=True)


def _describe(progress: ProgressLine) -> str:
    if progress.total:
        return f"{progress.label} {progress.done * 100 // progress.total} %"
    done = format_size(progress.done) if progress.unit == "bytes" else str(progress.done)
    return f"{progress.label} {done}" if progress.done else progress.label
