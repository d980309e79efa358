"""Measures a leg of a release with hundreds of adapters, and prints a Markdown table.

    python tests/benchmarks/many_adapters.py [--adapters 300]

Tiny models, so what is measured is what an adapter costs besides the arithmetic of its model: the
graph, its stages, linking. The naive way is an export in full for each adapter: one is made, with
the same exporter, and multiplied.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from measure import begin, show, table, timed

from ptefoundry.lowering.full_export import export_in_full
from ptefoundry.params import load_params
from support.tiny_workspace import TinyWorkspace

PROGRAM = Path(sys.executable).with_name("ptefoundry")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapters", type=int, default=300)
    parser.add_argument("--export", metavar="ADAPTER", help="export in full, into --into; no table")
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    if arguments.export:
        _export(arguments.export, arguments.into)
        return
    begin()
    with tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), arguments.adapters
        ranks = {f"a{number:04d}": 4 for number in range(count)}
        workspace = TinyWorkspace(folder / "workspace", folder / "cache", adapters=ranks)
        os.environ.update(workspace.environment)
        os.chdir(workspace.root)
        (leg,) = json.loads(_run("plan", "--github-matrix", "--batch", str(count + 1)))["include"]
        words = leg["arguments"].split()
        seconds, built = _timed_build(*words)
        again, _ = _timed_build(*words)
        first = next(iter(ranks))
        export, _ = timed([sys.executable, __file__, "--export", first, "--into", folder / "x"])
    show(_table(count, seconds, again, export, built))


def _run(*arguments: str) -> str:
    command = [PROGRAM, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def _timed_build(*arguments: str) -> tuple[float, list[dict[str, Any]]]:
    started = time.perf_counter()
    stages: list[dict[str, Any]] = json.loads(_run("build", *arguments, "--json"))["stages"]
    return time.perf_counter() - started, stages


def _export(adapter: str, into: Path) -> None:
    params = load_params(Path.cwd()).backends.xnnpack
    artifacts = Path("artifacts")
    folder = artifacts / "adapters" / "canonical" / adapter
    compiled = export_in_full(artifacts / "base" / "canonical", folder, params)
    compiled.write_program(into)


def _table(
    count: int, seconds: float, again: float, export: float, built: list[dict[str, Any]]
) -> str:
    rows = [[f"a leg with {count} adapters", f"{seconds:.0f}", f"{seconds / count:.2f}"]]
    kinds = dict.fromkeys(
        stage["name"].partition("@")[0] for stage in built if stage["result"] == "ran"
    )
    for kind in kinds:
        times = [
            stage["seconds"]
            for stage in built
            if stage["name"].partition("@")[0] == kind and stage["result"] == "ran"
        ]
        each = f"{sum(times) / len(times):.2f}" if len(times) > 1 else ""
        rows.append([f"of it `{kind}`", f"{sum(times):.0f}", each])
    rows.append(["the leg again, nothing to do", f"{again:.0f}", f"{again / count:.3f}"])
    rows.append(["exporting in full, each adapter", f"{export * count:.0f}", f"{export:.2f}"])
    return table("Hundreds of adapters", ["", "seconds", "for each"], rows)


if __name__ == "__main__":
    main()
