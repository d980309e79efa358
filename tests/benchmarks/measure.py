"""What the benchmarks share: timing commands, printing tables and where they are from."""

import datetime
import functools
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.toolchain import current_toolchain

MIB = 1 << 20
ROOT = Path(__file__).resolve().parents[2]
CODE = ("ptefoundry", "stages", "cli", "runner", "tests")


def begin() -> None:
    """Print when, on what and with which command is measured; a long run may outlast it."""
    print(f"{_provenance()}\n", flush=True)


def show(text: str) -> None:
    """Print a table, and the same line below it."""
    print(f"{text}\n{_provenance()}\n", flush=True)


@functools.cache
def _provenance() -> str:
    """Date, commit, machine, versions; command. The load tells what else was at work at first."""
    facts = current_toolchain()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{datetime.datetime.now(tz=datetime.UTC).date()}, commit {_commit()}, {_processor()}, "
        f"{os.cpu_count()} cores, {memory:.0f} GiB, load {os.getloadavg()[0]:.1f} before, "
        f"Python {platform.python_version()}, torch {facts['compile']['torch']}, "
        f"executorch {facts['compile']['executorch']}, {facts['runner']['compiler']}; "
        f"`{_command()}`"
    )


def _commit() -> str:
    """Of the code that is measured."""
    commit = output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT).strip()
    status = ["git", "status", "--porcelain", "--untracked-files=no", "--", *CODE]
    changes = output(status, cwd=ROOT)
    return f"{commit} with changes" if changes else commit


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def _command() -> str:
    """As it was typed from the top; of paths into the machine only their names."""
    script = Path(sys.argv[0]).resolve().relative_to(ROOT)
    arguments = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["python", str(script), *arguments])


@dataclass(frozen=True)
class Usage:
    """What a command took."""

    seconds: float
    """From start to end."""
    cpu_s: float
    """Seconds of all processors."""
    rss: int
    """Peak, bytes; at least 8 MiB."""


def timed(command: Sequence[str | Path]) -> tuple[float, int]:
    """Seconds and peak RSS in bytes of a command that must succeed."""
    usage = measured(command)
    return usage.seconds, usage.rss


def repeated(command: Sequence[str | Path], times: int) -> tuple[float, int]:
    """Median of seconds, and the highest peak, of a command that is run several times."""
    return median([measured(command) for _ in range(times)])


def median(runs: Sequence[Usage]) -> tuple[float, int]:
    """Median of seconds, and the highest peak."""
    return statistics.median(run.seconds for run in runs), max(run.rss for run in runs)


def measured(command: Sequence[str | Path], cwd: Path | None = None) -> Usage:
    """What a command takes that must succeed."""
    # Isolated and without site-packages, to be small.
    launch = [sys.executable, "-I", "-S", Path(__file__).with_name("measured_process.py")]
    done = subprocess.run(
        [*launch, *command], cwd=cwd, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed; run `make demo` first")
    seconds, cpu_s, rss = done.stdout.split()
    return Usage(float(seconds), float(cpu_s), int(rss))


def output(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    """Standard output of a command that must succeed."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


def table(title: str, header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table below a heading."""
    lines = [f"### {title}", "", "| " + " | ".join(header) + " |"]
    lines.append("|" + "---|" * len(header))
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
