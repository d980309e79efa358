"""Stage `foundation@<backend>`: the base's weights for all programs, and its own program."""

import argparse
from pathlib import Path

from ptefoundry.lowering.build import build_foundation

from .entry import start


def main() -> None:
    """Write the foundation and link the base's program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--templates", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    build_foundation(arguments.base, arguments.templates, arguments.into)


if __name__ == "__main__":
    start("foundation", main)
