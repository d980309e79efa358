"""Measures linking against hashing and against exporting in full, on the demo; Markdown tables.

    make benchmarks
    python tests/benchmarks/linking.py [--full]

Needs a built workspace (`make demo`). A link in a process of its own is what the build's
stage does, the interpreter's start included, without what DVC adds. Many links in a process
are of adapters that all differ, written before the clock starts; opening each is measured,
and so are the template's and the foundation's index, the interpreter's start is not. Each
program is synced to the disk, read back and, afterwards, its digest compared with the others'.

`--full` exports base and adapter as the naive way does, in the same run (minutes), and compares
the bytes. Single links and digests are medians of `REPEATS`, what takes minutes is run once.
"""

import argparse
import filecmp
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from foundation_writing import compare_foundation
from measure import MIB, begin, output, repeated, show, table, timed
from more_adapters import write_adapters

import ptefoundry
from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.lowering.build import BASE_PROGRAM
from ptefoundry.lowering.foundation import FOUNDATION_FILE, load_foundation
from ptefoundry.lowering.link import Linker
from ptefoundry.lowering.template import load_template, template_name
from ptefoundry.params import load_params

REPEATS, FOUNDATION_ROUNDS = 5, 3
BASE, COMPILED = Path("artifacts/base/canonical"), Path("artifacts/compile/xnnpack")
ADAPTERS, FOUNDATION = Path("artifacts/adapters/canonical"), Path("artifacts/foundation/xnnpack")
SECONDS_FILE = "seconds.json"


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    seconds: float
    peak: int | None = None
    digest_s: float | None = None
    """`sha256sum` of the same bytes."""
    export_s: float | None = None
    """A full export of the same program."""

    def cells(self) -> list[str]:
        """As shown: seconds, what they are of others', memory."""
        seconds = f"{self.seconds:.3f}" if self.seconds < 10 else f"{self.seconds:.0f}"
        of_digest = f"{self.seconds / self.digest_s:.2f}" if self.digest_s else ""
        of_export = f"{self.seconds / self.export_s:.5f}" if self.export_s else ""
        memory = f"{self.peak / MIB:,.0f}" if self.peak else ""
        return [self.what, seconds, of_digest, of_export, memory]


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path(ptefoundry.__file__).parents[1])
    parser.add_argument("--adapters", type=int, default=100, help="linked in one process")
    parser.add_argument("--full", action="store_true", help="export in full too, and compare")
    parser.add_argument("--export", metavar="ADAPTER", help="export in full, into --into; no table")
    parser.add_argument("--many", type=Path, help="link a folder's adapters into --into; no table")
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    os.chdir(arguments.workspace.resolve())
    if arguments.export:
        _export(None if arguments.export == "base" else arguments.export, arguments.into)
    elif arguments.many:
        _link_many(arguments.many, arguments.into)
    else:
        begin()
        with tempfile.TemporaryDirectory(dir="artifacts") as name:
            folder = Path(name).resolve()
            show(_programs(folder, arguments.adapters, full=arguments.full))
            show(compare_foundation(Path.cwd(), folder / "copies", FOUNDATION_ROUNDS, "the demo"))


def _programs(folder: Path, count: int, *, full: bool) -> str:
    adapter = sorted(load_params(Path.cwd()).adapters)[0]
    linked = folder / f"{adapter}.pte"
    link_s, link_peak = repeated(_link(ADAPTERS / adapter, linked), REPEATS)
    digest_s, digest_peak = repeated(["sha256sum", linked], REPEATS)
    exports = _exports(adapter, folder, linked) if full else []
    export_s = exports[-1].seconds if exports else None
    single = f"median of {REPEATS}"
    rows = [
        Row(f"link `{adapter}`, own process, {single}", link_s, link_peak, digest_s, export_s),
        Row(f"`sha256sum` of its bytes, own process, {single}", digest_s, digest_peak, digest_s),
        *_many(adapter, count, folder, export_s),
        Row("`compile`, both templates in one process, once", *_compile(folder / "templates")),
        *exports,
    ]
    title = "Linking (full exports gave the same bytes)" if full else "Linking"
    header = ["what", "seconds", "of `sha256sum`", "of the full export", "peak RSS, MiB"]
    return table(title, header, [row.cells() for row in rows])


def _link(adapter: Path, into: Path) -> list[str | Path]:
    command: list[str | Path] = [sys.executable, "-m", "ptefoundry.stages.link"]
    command += ["--adapter", adapter, "--templates", COMPILED, "--foundation", FOUNDATION]
    return [*command, "--into", into]


def _many(adapter: str, count: int, folder: Path, export_s: float | None) -> list[Row]:
    """Differing adapters in one process, and the digests of what it made."""
    written = write_adapters([ADAPTERS / adapter], count, folder / "adapters")
    into = folder / "programs"
    into.mkdir()
    # What was written has still to go to the disk, which is not for the links to wait for.
    os.sync()
    command = [sys.executable, __file__, "--many", folder / "adapters", "--into", into]
    _, peak = timed(command)
    measured = json.loads((folder / SECONDS_FILE).read_text())
    programs = sorted(into.iterdir())
    _check_differing(programs, written[-1], folder)
    digests_s, digest_peak = repeated(["sha256sum", *programs], REPEATS)
    digest_s = digests_s / count
    together = f"each of {count} differing adapters in one process"
    return [
        Row(f"link, {together}, mean", measured["all"] / count, peak, digest_s, export_s),
        Row("the slowest of them", max(measured["each"]), None, digest_s, export_s),
        Row(f"`sha256sum` of these {count} in one process, each", digest_s, digest_peak, digest_s),
    ]


def _check_differing(programs: list[Path], last: Path, folder: Path) -> None:
    """No two are equal, and one has the bytes that a process of its own gives it."""
    lines = output(["sha256sum", *programs]).splitlines()
    if len({line.split()[0] for line in lines}) != len(programs):
        raise SystemExit("programs of differing adapters are equal")
    alone = folder / "alone.pte"
    timed(_link(last, alone))
    if not filecmp.cmp(alone, programs[-1], shallow=False):
        raise SystemExit(f"{programs[-1].name} differs from the link in a process of its own")


def _link_many(folder: Path, into: Path) -> None:
    """Link all adapters of a folder; seconds of all together and of each go beside it."""
    adapters = sorted(folder.iterdir())
    start = time.perf_counter()
    signature = load_adapter(adapters[0]).modules
    linker = Linker(load_template(COMPILED / template_name(signature)), load_foundation(FOUNDATION))
    ends = [time.perf_counter()]
    for adapter in adapters:
        linker.link(load_adapter(adapter), into / f"{adapter.name}.pte")
        ends.append(time.perf_counter())
    each = [end - begin for begin, end in pairwise(ends)]
    seconds = {"all": ends[-1] - start, "each": each}
    (into.parent / SECONDS_FILE).write_text(json.dumps(seconds))


def _compile(folder: Path) -> tuple[float, int]:
    """Compile the workspace's templates with empty stores."""
    program = (
        "import sys; from pathlib import Path;"
        "from ptefoundry.lowering.compile import compile_template;"
        "from ptefoundry.lowering.template import load_template;"
        f"[compile_template(load_template(path).map.recipe, Path({str(folder)!r}, path.name))"
        f" for path in sorted(Path({str(COMPILED)!r}).iterdir())]"
    )
    return timed([sys.executable, "-c", program])


def _exports(adapter: str, folder: Path, linked: Path) -> list[Row]:
    """Full exports of the base and of an adapter, whose bytes must be the linked ones."""
    rows = []
    for name, program in (("base", FOUNDATION / BASE_PROGRAM), (adapter, linked)):
        into = folder / "full"
        command = [sys.executable, __file__, "--export", name, "--into", into]
        seconds, peak = timed(command)
        rows.append(Row(f"full export of `{name}`, once", seconds, peak, None, seconds))
        for ours, theirs in (
            (program, into / f"{name}.pte"),
            (FOUNDATION / FOUNDATION_FILE, into / FOUNDATION_FILE),
        ):
            if not filecmp.cmp(ours, theirs, shallow=False):
                raise SystemExit(f"{ours} differs from the full export")
    return rows


def _export(adapter: str | None, into: Path) -> None:
    from ptefoundry.lowering.full_export import export_in_full

    folder = ADAPTERS / adapter if adapter else None
    compiled = export_in_full(BASE, folder, load_params(Path.cwd()).backends.xnnpack)
    into.mkdir(exist_ok=True)
    compiled.write_program(into / f"{adapter or 'base'}.pte")
    compiled.write_foundation(into / FOUNDATION_FILE)


if __name__ == "__main__":
    main()
