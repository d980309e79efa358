"""Stage `compile@<backend>`: the base's program and the foundation that all share."""

import argparse
from pathlib import Path

from ptefoundry.lowering.build import build_base
from ptefoundry.params import load_params

from .entry import start


def main() -> None:
    """Compile the base for a backend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=["xnnpack"], required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    params = load_params(Path.cwd()).backends.xnnpack
    build_base(arguments.base, params, arguments.into)


if __name__ == "__main__":
    start("compile", main)
