"""What the benchmarks share: timing commands, describing the machine, printing tables."""

import datetime
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.toolchain import current_toolchain

MIB = 1 << 20


def machine(root: Path) -> str:
    """One line: date, commit, processor, memory, versions."""
    facts = current_toolchain()
    commit = output(["git", "rev-parse", "--short", "HEAD"], cwd=root).strip()
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{datetime.datetime.now(tz=datetime.UTC).date()}, commit {commit}, {cpu}, "
        f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, "
        f"torch {facts['compile']['torch']}, executorch {facts['compile']['executorch']}, "
        f"{facts['runner']['compiler']}\n"
    )


@dataclass(frozen=True)
class Usage:
    """What a command took."""

    seconds: float
    """From start to end."""
    cpu_s: float
    """Seconds of all processors."""
    rss: int
    """Peak, bytes."""


def timed(command: Sequence[str | Path]) -> tuple[float, int]:
    """Seconds and peak RSS in bytes of a command that must succeed."""
    usage = measured(command)
    return usage.seconds, usage.rss


def measured(command: Sequence[str | Path]) -> Usage:
    """What a command takes that must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed; run `make demo` first")
    seconds = time.perf_counter() - start
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def output(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    """Standard output of a command that must succeed."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


def table(title: str, header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table below a heading."""
    lines = [f"### {title}", "", "| " + " | ".join(header) + " |"]
    lines.append("|" + "---|" * len(header))
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
