"""Measures `ptefoundry rebuild --verify` against the build that it repeats; prints a table.

    python tests/benchmarks/rebuild.py [--workspace DIR]

A clean clone builds from nothing, then builds again from its record and compares every byte.
Without a workspace it is a tiny one with two adapters. Times are of whole processes.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from clean_clone import clone, origin_in
from measure import begin, show, table

CHECKS = {
    "`rebuild --verify`": (),
    "`rebuild --verify --use-templates`": ("--use-templates",),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, help="a git repository with a params.yaml")
    arguments = parser.parse_args()
    begin()
    with tempfile.TemporaryDirectory() as name:
        built = clone(origin_in(Path(name), arguments.workspace), Path(name) / "built")
        first = built.seconds("build")
        rows = [["`build` from nothing", f"{first:.1f}", "1"]]
        for title, options in CHECKS.items():
            seconds = built.seconds("rebuild", "--verify", *options)
            rows.append([title, f"{seconds:.1f}", f"{seconds / first:.2f}"])
    show(table("Rebuild check", ["what", "seconds", "of the build"], rows))


if __name__ == "__main__":
    main()
