"""Stage `bundle`: everything that an app needs, in one folder with a manifest."""

import argparse
from pathlib import Path

from ptefoundry.bundle.assemble import assemble_bundle
from ptefoundry.params import load_params
from ptefoundry.workspace import Workspace

from .entry import start


def main() -> None:
    """Assemble the bundle from what the other stages built."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    workspace = Workspace(Path.cwd())
    assemble_bundle(workspace, load_params(workspace.root), arguments.into)


if __name__ == "__main__":
    start("bundle", main)
