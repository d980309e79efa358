"""Stage `fetch-base`: the files of the base, checked against their digest."""

import argparse
from pathlib import Path

from ptefoundry.base.sources import BASE_FILES, fetch
from ptefoundry.files import write_text
from ptefoundry.params import load_params
from ptefoundry.workspace import cache_folder, digest_file

from .entry import start


def main() -> None:
    """Fetch what params.yaml names as the base."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    base = load_params(Path.cwd()).base
    fetched = fetch(
        base.source,
        arguments.into,
        digest=base.digest,
        wanted=BASE_FILES,
        root=Path.cwd(),
        cache=cache_folder(),
        where="params.yaml: base.source",
    )
    write_text(digest_file(arguments.into), f"{fetched.digest}\n")


if __name__ == "__main__":
    start("fetch", main)
