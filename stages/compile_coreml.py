"""Stage `compile-coreml`: the base and all adapters as methods of one program."""

import argparse
from pathlib import Path

from ptefoundry.coreml.build import build_program
from ptefoundry.params import load_params

from .entry import start


def main() -> None:
    """Build the program and prove that its methods share the base."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, action="append", default=[])
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    params = load_params(Path.cwd()).backends.coreml
    assert params is not None
    adapters = {folder.name: folder for folder in arguments.adapter}
    build_program(arguments.base, adapters, params, arguments.into)


if __name__ == "__main__":
    start("compile-coreml", main)
