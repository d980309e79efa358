"""Stages `quantized-reference-base@<backend>` and `quantized-reference@<backend>-<adapter>`.

What the quantized model answers, where a backend's options quantize anything.
"""

import argparse
from pathlib import Path

from ptefoundry.model.quantized import make_quantized_reference
from ptefoundry.params import load_params

from .entry import start


def main() -> None:
    """Answer the smoke prompts with the eager quantized model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=["xnnpack"], required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    params = load_params(Path.cwd())
    assert params.backends.xnnpack is not None
    make_quantized_reference(
        arguments.base,
        arguments.adapter,
        arguments.reference,
        params=params.backends.xnnpack,
        tokens=params.smoke.tokens,
        into=arguments.into,
    )


if __name__ == "__main__":
    start("quantize", main)
