"""Stage `link@<backend>-<adapter>`: an adapter's program over the shared foundation."""

import argparse
from pathlib import Path

from ptefoundry.lowering.build import build_adapter
from ptefoundry.params import load_params

from .entry import start


def main() -> None:
    """Make the program of one adapter for a backend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=["xnnpack"], required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--compiled", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    params = load_params(Path.cwd()).backends.xnnpack
    build_adapter(arguments.base, arguments.adapter, params, arguments.compiled, arguments.into)


if __name__ == "__main__":
    start("compile", main)
