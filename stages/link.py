"""Stage `link@<backend>-<adapter>`: an adapter's matrices into a template."""

import argparse
from pathlib import Path

from ptefoundry.lowering.build import build_adapter

from .entry import start


def main() -> None:
    """Link the program of one adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--templates", type=Path, required=True)
    parser.add_argument("--foundation", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--shared", action="store_true", help="one template for all adapters")
    arguments = parser.parse_args()
    build_adapter(
        arguments.adapter,
        arguments.templates,
        arguments.foundation,
        arguments.into,
        shared=arguments.shared,
    )


if __name__ == "__main__":
    start("link", main)
