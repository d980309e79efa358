"""Stage `build-runner`: the C++ runner against the installed ExecuTorch wheel."""

import argparse
from pathlib import Path

from ptefoundry.native import build_runner

from .entry import start


def main() -> None:
    """Configure, compile and install the runner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, required=True)
    build_runner(parser.parse_args().into)


if __name__ == "__main__":
    start("runner", main)
