"""Stages `reference-base` and `reference@<name>`: what the original model answers.

Also proves the conversion: the canonical model's logits must equal PEFT's.
"""

import argparse
from pathlib import Path

from ptefoundry.model.parity import make_reference
from ptefoundry.params import load_params

from .entry import start


def main() -> None:
    """Answer the smoke prompts with transformers and PEFT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-source", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter-source", type=Path)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    make_reference(
        arguments.base_source,
        arguments.base,
        arguments.adapter_source,
        arguments.adapter,
        smoke=load_params(Path.cwd()).smoke,
        into=arguments.into,
    )


if __name__ == "__main__":
    start("reference", main)
