"""Writing a workspace's foundation beside copying and hashing the same bytes, in one run.

The stage is run as a process of its own, the interpreter's start included: it reads and
hashes the checkpoint, writes the foundation, syncs it to the disk, links the base's program and
reads that back. `cp` is followed by `sync` of the copy. All sources are in the machine's
memory where they have room, and what was written before is on the disk when a run begins.
"""

import filecmp
import os
import shutil
import sys
from pathlib import Path

from measure import MIB, Usage, measured, median, table

from ptefoundry.lowering.foundation import FOUNDATION_FILE

COPY, DIGEST, WRITE = (
    "`cp` and `sync` of the foundation",
    "`sha256sum` of the foundation",
    "write the foundation, link the base's program",
)


def compare_foundation(root: Path, scratch: Path, rounds: int, of: str) -> str:
    """A table with medians of rounds, in each of which all take their turn.

    Args:
        root: a built workspace.
        scratch: a folder that is made, on the disk to be measured, with room for the foundation.
        rounds: how often.
        of: whose foundation it is, for the heading.
    """
    built = root / "artifacts/foundation/xnnpack" / FOUNDATION_FILE
    commands = _commands(built, scratch)
    runs: dict[str, list[Usage]] = {what: [] for what in commands}
    for _ in range(rounds):
        for what, command in commands.items():
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            # What the one before has still to write is not for this one to wait for.
            os.sync()
            runs[what].append(measured(command, cwd=root))
    # Writing comes last in each round.
    if not filecmp.cmp(built, scratch / "written" / FOUNDATION_FILE, shallow=False):
        raise SystemExit(f"{built} differs from what was written again")
    shutil.rmtree(scratch)
    return _table(runs, built.stat().st_size, f"Foundation ({of}; medians of {rounds})")


def _commands(built: Path, scratch: Path) -> dict[str, list[str]]:
    copied = str(scratch / "copied")
    copy = 'cp --reflink=never "$1" "$2" && sync "$2"'
    write = [sys.executable, "-m", "ptefoundry.stages.foundation"]
    write += ["--base", "artifacts/base/canonical", "--templates", "artifacts/compile/xnnpack"]
    return {
        COPY: ["sh", "-c", copy, "sh", str(built), copied],
        DIGEST: ["sha256sum", str(built)],
        WRITE: [*write, "--into", str(scratch / "written")],
    }


def _table(runs: dict[str, list[Usage]], size: int, title: str) -> str:
    medians = {what: median(usages) for what, usages in runs.items()}
    rows = []
    for what in (WRITE, COPY, DIGEST):
        seconds, peak = medians[what]
        ratios = [f"{seconds / medians[other][0]:.2f}" for other in (COPY, DIGEST)]
        numbers = [f"{seconds:.3f}", f"{size / 1e6 / seconds:,.0f}", *ratios]
        rows.append([what, *numbers, f"{peak / MIB:,.0f}"])
    header = ["what", "seconds", "MB/s", "of `cp` and `sync`", "of `sha256sum`", "peak RSS, MiB"]
    return table(title, header, rows)
