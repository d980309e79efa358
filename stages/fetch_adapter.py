"""Stage `fetch-adapter@<name>`: an adapter's two files, checked against their digest."""

import argparse
from pathlib import Path

from ptefoundry.base.sources import ADAPTER_FILES, fetch
from ptefoundry.files import write_text
from ptefoundry.params import load_params
from ptefoundry.workspace import cache_folder, digest_file

from .entry import start


def main() -> None:
    """Fetch one of the adapters that params.yaml names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    adapter = load_params(Path.cwd()).adapters[arguments.adapter]
    fetched = fetch(
        adapter.source,
        arguments.into,
        digest=adapter.digest,
        wanted=ADAPTER_FILES,
        root=Path.cwd(),
        cache=cache_folder(),
        where=f"params.yaml: adapters.{arguments.adapter}.source",
    )
    write_text(digest_file(arguments.into), f"{fetched.digest}\n")


if __name__ == "__main__":
    start("fetch", main)
