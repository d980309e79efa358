"""Progress of long work, for people: a bar on a terminal, silence elsewhere.

The library reports bytes or items through `progress`; whether and how that is
shown is decided here once, from the environment. Data never goes through this.

A process that runs another one and shows its progress itself, as `ptefoundry
build` does with the stages, sets `PTEFOUNDRY_PROGRESS=lines`: progress then goes
to stderr as lines that `parse_progress` understands.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

Advance = Callable[[int], None]
"""Called with the number of bytes or items done since the last call."""

ASSEMBLE_VARIABLE = "PTEFOUNDRY_ASSEMBLE"
"""Environment variable; if it is set no stage runs but the bundle's."""
PROGRESS_VARIABLE = "PTEFOUNDRY_PROGRESS"
"""Environment variable; `lines` asks for lines instead of a bar."""

_LINE_PREFIX = "ptefoundry-progress: "
_LINE_INTERVAL_S = 0.2


@dataclass(frozen=True, kw_only=True)
class ProgressLine:
    """How far a piece of work in another process is."""

    label: str
    done: int
    total: int | None
    """None while unknown."""
    unit: str


@contextmanager
def progress(label: str, total: int | None, *, unit: str = "bytes") -> Iterator[Advance]:
    """Show a bar named `label` while the block runs; yields the function to advance it."""
    if os.environ.get(PROGRESS_VARIABLE) == "lines":
        yield _line_writer(label, total, unit)
        return
    if not _interactive():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn

    amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.advance(task, count)


def parse_progress(line: str) -> ProgressLine | None:
    """What a line of another process's stderr says of its progress; None for other lines."""
    if not line.startswith(_LINE_PREFIX):
        return None
    try:
        return ProgressLine(**json.loads(line.removeprefix(_LINE_PREFIX)))
    except (ValueError, TypeError):
        return None


def _line_writer(label: str, total: int | None, unit: str) -> Advance:
    """Writes at once, then at most every `_LINE_INTERVAL_S`, and when all is done."""
    done, written_at = 0, 0.0

    def advance(count: int) -> None:
        nonlocal done, written_at
        done += count
        now = time.monotonic()
        if now - written_at >= _LINE_INTERVAL_S or done == total:
            line = ProgressLine(label=label, done=done, total=total, unit=unit)
            # One write, so that lines of several processes do not mix.
            sys.stderr.write(f"{_LINE_PREFIX}{json.dumps(asdict(line))}\n")
            sys.stderr.flush()
            written_at = now

    advance(0)
    return advance


def _interactive() -> bool:
    return sys.stderr.isatty() and "CI" not in os.environ


def format_size(count: int) -> str:
    """Bytes as a short text in powers of 1024, for instance `513.2 MiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
