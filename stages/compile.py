"""Stage `compile@<backend>`: program templates of the base's shape, found or compiled."""

import argparse
from pathlib import Path

from ptefoundry.adapter.signatures import load_signatures
from ptefoundry.digest import hash_json
from ptefoundry.lowering.store import workspace_stores
from ptefoundry.lowering.templates import build_templates, list_recipes
from ptefoundry.params import load_params
from ptefoundry.toolchain import describe_section

from .entry import start

_SECTION = "compile"


def main() -> None:
    """Make the templates that a workspace needs for a backend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=["xnnpack"], required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--signatures", type=Path)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    params = load_params(Path.cwd()).backends.xnnpack
    assert params is not None
    recipes = list_recipes(
        arguments.base,
        load_signatures(arguments.signatures) if arguments.signatures else [],
        params,
        hash_json(describe_section(_SECTION)),
    )
    build_templates(recipes, workspace_stores(Path.cwd()), arguments.into)


if __name__ == "__main__":
    start(_SECTION, main)
