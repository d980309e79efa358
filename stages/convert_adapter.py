"""Stage `convert-adapter@<name>`: a PEFT adapter to the canonical form, or refused."""

import argparse
import sys
from pathlib import Path

from ptefoundry.adapter.convert import convert_adapter
from ptefoundry.params import load_params

from .entry import start


def main() -> None:
    """Convert a fetched adapter for a converted base."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    base_name = load_params(Path.cwd()).base.name
    fitted = convert_adapter(arguments.source, arguments.base, arguments.into, base_name=base_name)
    for warning in fitted.warnings:
        print(f"warning: {warning}", file=sys.stderr)


if __name__ == "__main__":
    start("convert", main)
