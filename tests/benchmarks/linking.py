"""Measures linking against exporting in full, on the demo, and prints Markdown tables.

    make benchmarks

Needs a built workspace (`make demo`). The full export of the same program from
the same files, in the same run, is the naive way; its bytes are compared with
the linked ones. Times are medians of `REPEATS` processes, of one for what takes
minutes; peak memory is the process's RSS.
"""

import argparse
import filecmp
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from measure import MIB, machine, table, timed

import ptefoundry
from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.lowering.build import BASE_PROGRAM
from ptefoundry.lowering.foundation import FOUNDATION_FILE, load_foundation
from ptefoundry.lowering.full_export import export_in_full
from ptefoundry.lowering.link import Linker
from ptefoundry.lowering.template import load_template, template_name
from ptefoundry.params import load_params

REPEATS = 5
ADAPTERS_IN_ONE_PROCESS = 100
BASE, COMPILED = Path("artifacts/base/canonical"), Path("artifacts/compile/xnnpack")
FOUNDATION = Path("artifacts/foundation/xnnpack")


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path(ptefoundry.__file__).parents[1])
    parser.add_argument("--export", metavar="ADAPTER", help="export in full, into --into; no table")
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    os.chdir(arguments.workspace.resolve())
    if arguments.export:
        _export(None if arguments.export == "base" else arguments.export, arguments.into)
        return
    print(machine(Path.cwd()))
    with tempfile.TemporaryDirectory(dir="artifacts") as name:
        print(_programs(Path(name)))
        print(_foundation(Path(name)))


def _programs(folder: Path) -> str:
    adapter = sorted(load_params(Path.cwd()).adapters)[0]
    rows = [_row(f"link `{adapter}`, a process of its own", *_link(adapter, folder))]
    linked = folder / f"{adapter}.pte"
    rows.append(_row("`sha256sum` of the same bytes", *_repeated(["sha256sum", str(linked)])))
    each = _link_many(adapter, folder)
    rows.append(_row(f"link, one of {ADAPTERS_IN_ONE_PROCESS} in a process", each, None))
    rows.append(_row("compile both templates", *_compile(folder)))
    for name, program in (("base", FOUNDATION / BASE_PROGRAM), (adapter, linked)):
        command = [sys.executable, __file__, "--export", name, "--into", str(folder / "full")]
        rows.append(_row(f"full export of `{name}`", *timed(command)))
        for ours, theirs in (
            (program, folder / "full" / f"{name}.pte"),
            (FOUNDATION / FOUNDATION_FILE, folder / "full" / FOUNDATION_FILE),
        ):
            if not filecmp.cmp(ours, theirs, shallow=False):
                raise SystemExit(f"{ours} differs from the full export")
    title = "Linking (full exports gave the same bytes, programs and foundation)"
    return table(title, ["what", "seconds", "peak RSS, MiB"], rows)


def _foundation(folder: Path) -> str:
    source, copied = BASE / "model.safetensors", folder / "copied"
    write = [sys.executable, "-m", "ptefoundry.stages.foundation", "--base", str(BASE)]
    write += ["--templates", str(COMPILED), "--into", str(folder / "foundation")]
    copy = ["sh", "-c", f"rm -f {copied} && cp {source} {copied} && sync {copied}"]
    digest = ["sha256sum", str(source)]
    rows = [
        _row("write the foundation, link the base's program", *_repeated(write)),
        _row("`cp` and `sync` of the checkpoint", *_repeated(copy)),
        _row("`sha256sum` of the checkpoint", *_repeated(digest)),
    ]
    return table("Foundation", ["what", "seconds", "peak RSS, MiB"], rows)


def _link(adapter: str, folder: Path) -> tuple[float, int]:
    command = [sys.executable, "-m", "ptefoundry.stages.link"]
    command += ["--adapter", f"artifacts/adapters/canonical/{adapter}"]
    command += ["--templates", str(COMPILED), "--foundation", str(FOUNDATION)]
    return _repeated([*command, "--into", str(folder / f"{adapter}.pte")])


def _link_many(adapter: str, folder: Path) -> float:
    canonical = load_adapter(Path("artifacts/adapters/canonical") / adapter)
    template = load_template(COMPILED / template_name(canonical.modules))
    start = time.perf_counter()
    linker = Linker(template, load_foundation(FOUNDATION))
    for _ in range(ADAPTERS_IN_ONE_PROCESS):
        linker.link(canonical, folder / "one.pte")
    return (time.perf_counter() - start) / ADAPTERS_IN_ONE_PROCESS


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


def _export(adapter: str | None, into: Path) -> None:
    folder = Path("artifacts/adapters/canonical", adapter) if adapter else None
    compiled = export_in_full(BASE, folder, load_params(Path.cwd()).backends.xnnpack)
    into.mkdir(exist_ok=True)
    compiled.write_program(into / f"{adapter or 'base'}.pte")
    compiled.write_foundation(into / FOUNDATION_FILE)


def _repeated(command: list[str]) -> tuple[float, int]:
    runs = [timed(command) for _ in range(REPEATS)]
    return statistics.median(seconds for seconds, _ in runs), max(peak for _, peak in runs)


def _row(label: str, seconds: float, peak: int | None) -> list[str]:
    shown = f"{seconds:.3f}" if seconds < 10 else f"{seconds:.0f}"
    return [label, shown, f"{peak / MIB:,.0f}" if peak else ""]


if __name__ == "__main__":
    main()
