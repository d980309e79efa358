"""Measures CoreML programs with 0, 1, 2 and 4 adapters, on the demo, and prints Markdown tables.

    nice python tests/benchmarks/coreml.py

Needs a workspace whose base and adapters are converted (`make demo`). The naive way is a program
for each adapter by itself. Each program is built in a process of its own. Where there are fewer
adapters, they are taken again with all numbers a hundredth larger, so that nothing is equal.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from measure import MIB, begin, show, table, timed
from more_adapters import write_adapters

import ptefoundry
from ptefoundry.coreml.build import SHARING_FILE, build_program
from ptefoundry.coreml.params import CoremlParams

CANONICAL = Path("artifacts") / "adapters" / "canonical"
BASE = Path("artifacts") / "base" / "canonical"


@dataclass(frozen=True)
class Built:
    adapters: int
    seconds: float
    peak: int
    program: int
    needed: int
    text: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path(ptefoundry.__file__).parents[1])
    parser.add_argument("--options", default="{}", help="of backends.coreml, as JSON")
    parser.add_argument("--counts", default="0,1,2,4")
    parser.add_argument("--build", type=Path, help="build with the adapters of a folder; no table")
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    os.chdir(arguments.workspace.resolve())
    if arguments.build:
        adapters = {folder.name: folder for folder in arguments.build.iterdir()}
        build_program(BASE, adapters, CoremlParams(**json.loads(arguments.options)), arguments.into)
        return
    begin()
    with tempfile.TemporaryDirectory(dir="artifacts") as name:
        counts = [int(count) for count in arguments.counts.split(",")]
        built = [_build(count, arguments.options, Path(name)) for count in counts]
    show(_table(built))


def _build(count: int, options: str, folder: Path) -> Built:
    adapters, into = folder / f"adapters-{count}", folder / f"coreml-{count}"
    adapters.mkdir()
    write_adapters(sorted(CANONICAL.iterdir()), count, adapters)
    command = [sys.executable, __file__, "--workspace", str(Path.cwd()), "--options", options]
    seconds, peak = timed([*command, "--build", str(adapters), "--into", str(into)])
    sharing = json.loads((into / SHARING_FILE).read_text())
    return Built(
        adapters=count,
        seconds=seconds,
        peak=peak,
        program=sharing["program_bytes"],
        needed=sum(variant["needed_bytes"] for variant in sharing["variants"]),
        text=sum(variant["text_bytes"] for variant in sharing["variants"]),
    )


def _table(built: list[Built]) -> str:
    alone, single = ({one.adapters: one for one in built}.get(count) for count in (0, 1))
    rows = []
    for one in built:
        ideal = f"{one.program / (alone.program + one.needed):.3f}" if alone else "-"
        others = ["-", "-", "-"]
        if single and one.adapters:
            others = [
                f"{one.peak / single.peak:.2f}",
                f"{one.program / (one.adapters * single.program):.2f}",
                f"{one.seconds / (one.adapters * single.seconds):.2f}",
            ]
        numbers = [f"{one.seconds:.0f}", f"{one.peak / MIB:.0f}", f"{one.program:,}"]
        rows.append([str(one.adapters), *numbers, f"{one.text:,}", ideal, *others])
    header = ["adapters", "seconds", "peak RSS, MiB", "bytes", "of them text"]
    header += ["of base + adapters", "peak, of one adapter's"]
    header += ["bytes, of a program for each", "seconds, of a program for each"]
    return table("CoreML programs", header, rows)


if __name__ == "__main__":
    main()
