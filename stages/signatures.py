"""Stage `signatures`: which kinds of adapters programs must be compiled for."""

import argparse
from pathlib import Path

from ptefoundry.adapter.signatures import write_signatures

from .entry import start


def main() -> None:
    """Collect the signatures of canonical adapters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", type=Path, action="append", required=True)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--shared", action="store_true", help="one signature for all adapters")
    arguments = parser.parse_args()
    write_signatures(arguments.adapter, arguments.into, shared=arguments.shared)


if __name__ == "__main__":
    start("link", main)
