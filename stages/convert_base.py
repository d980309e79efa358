"""Stage `convert-base`: a checkpoint of any supported format to the canonical form."""

import argparse
from pathlib import Path

from ptefoundry.base.convert import convert_base

from .entry import start


def main() -> None:
    """Convert a fetched base."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    convert_base(arguments.source, arguments.into)


if __name__ == "__main__":
    start("convert", main)
