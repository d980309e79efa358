"""How much memory a process had at once, told to the process that shows what it does.

It goes the way of progress: as a line on stderr where `PTEFOUNDRY_PROGRESS=lines` asks for it.
"""

import os
import sys
from pathlib import Path

from ptefoundry.report import PROGRESS_VARIABLE

_LINE_PREFIX = "ptefoundry-peak-rss: "


def report_peak() -> None:
    """Write `max_rss_bytes` for a process that runs this one."""
    if os.environ.get(PROGRESS_VARIABLE) == "lines":
        sys.stderr.write(f"{_LINE_PREFIX}{max_rss_bytes()}\n")
        sys.stderr.flush()


def parse_peak(line: str) -> int | None:
    """Bytes that a line of another process tells; None for other lines."""
    text = line.removeprefix(_LINE_PREFIX)
    return int(text) if text != line and text.isdecimal() else None


def max_rss_bytes() -> int:
    """Most resident memory that this process, or one that it waited for, had at once.

    Pages that are shared count in full: of files, and of the process that this one was
    forked from.
    """
    import resource

    # getrusage(2): bytes on macOS, KiB elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    return max(_own_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit), children)


def _own_bytes(usage: int) -> int:
    """On Linux that of the program alone: `usage` has what its process was before exec, too."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        return usage
    found = [int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else usage
