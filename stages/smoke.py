"""Stages `smoke-base@<backend>` and `smoke@<backend>-<adapter>`: does it answer right?

Runs a program in the C++ runner and compares with the reference.
"""

import argparse
from pathlib import Path

from ptefoundry.bundle.smoke import SmokeRun, run_smoke
from ptefoundry.params import load_params

from .entry import start


def main() -> None:
    """Check one program and write its metrics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runner", type=Path, required=True)
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--foundation", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    run = SmokeRun(
        runner=arguments.runner,
        program=arguments.program,
        foundation=arguments.foundation,
        tokenizer=arguments.tokenizer,
        reference=arguments.reference,
    )
    run_smoke(run, load_params(Path.cwd()).smoke, arguments.into)


if __name__ == "__main__":
    start("smoke", main)
