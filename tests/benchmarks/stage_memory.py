"""Measures each stage of a build from nothing: seconds and peak memory; prints a Markdown table.

    python tests/benchmarks/stage_memory.py --workspace . [--use-templates]

A clean clone without caches builds once, with templates compiled anew unless they are asked
for. Peak memory is the RSS of a stage's process and of what it started, as `ptefoundry build
--json` tells it. Shared pages count in full: those of files that are mapped, and those of the
server that forked the process. A link by itself is measured by linking.py. Without a workspace
it is a tiny one with two adapters.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from clean_clone import clone, origin_in
from measure import MIB, begin, show, table

from ptefoundry.lowering.store import WORKSPACE_STORE
from ptefoundry.params import load_params


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, help="a git repository with a params.yaml")
    parser.add_argument("--use-templates", action="store_true", help="those of the workspace")
    arguments = parser.parse_args()
    begin()
    with tempfile.TemporaryDirectory() as name:
        built = clone(origin_in(Path(name), arguments.workspace), Path(name) / "built")
        if not arguments.use_templates:
            shutil.rmtree(built.root / WORKSPACE_STORE, ignore_errors=True)
        start = time.perf_counter()
        stages = json.loads(built.output("build", "--json"))["stages"]
        seconds = time.perf_counter() - start
        bundle = load_params(built.root).bundle.name
    kind = "of the workspace" if arguments.use_templates else "compiled anew"
    show(stage_table(f"Stages ({bundle}, templates {kind}, once)", stages, seconds))


def stage_table(title: str, stages: Sequence[dict[str, Any]], seconds: float) -> str:
    """What `ptefoundry build --json` says of its stages, and the whole command's seconds."""
    rows = [
        [
            f"`{stage['name']}`",
            stage["result"],
            f"{stage['seconds']:.1f}",
            "" if stage["bytes"] is None else f"{stage['bytes'] / MIB:,.1f}",
            _mib(stage["max_rss_bytes"]),
        ]
        for stage in stages
    ]
    peaks = [stage["max_rss_bytes"] for stage in stages if stage["max_rss_bytes"]]
    rows.append(["all", "", f"{seconds:.1f}", "", _mib(max(peaks, default=None))])
    return table(title, ["stage", "", "seconds", "outputs, MiB", "peak RSS, MiB"], rows)


def _mib(size: int | None) -> str:
    """Empty for a stage that did not run."""
    return "" if size is None else f"{size / MIB:,.0f}"


if __name__ == "__main__":
    main()
