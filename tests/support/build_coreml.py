"""Builds a CoreML program in a process of its own: base, options as JSON, folder, adapters."""

import json
import sys
from pathlib import Path

from ptefoundry.coreml.build import build_program
from ptefoundry.coreml.params import CoremlParams


def main() -> None:
    base, options, into, *adapters = sys.argv[1:]
    pairs = (one.split("=") for one in adapters)
    folders = {name: Path(folder) for name, folder in pairs}
    build_program(Path(base), folders, CoremlParams(**json.loads(options)), Path(into))


if __name__ == "__main__":
    main()
