"""Stage `smoke-coreml@<variant>`: does the program's model answer as the original?

Core ML runs on Apple's systems only, so the model that was exported runs in PyTorch.
"""

import argparse
from pathlib import Path

from ptefoundry.coreml.build import PROGRAM_FILE
from ptefoundry.coreml.parity import prove_parity
from ptefoundry.params import load_params

from .entry import start


def main() -> None:
    """Check one variant and write its metrics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    params = load_params(Path.cwd())
    assert params.backends.coreml is not None
    prove_parity(
        arguments.base,
        (arguments.variant, arguments.adapter),
        arguments.reference,
        params.backends.coreml,
        arguments.program / PROGRAM_FILE,
        arguments.into,
    )


if __name__ == "__main__":
    start("smoke-coreml", main)
