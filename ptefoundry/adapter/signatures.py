"""The signatures of all adapters: what programs must be compiled for.

A signature is the rank of each adapted linear. Adapters of one signature share a
compiled template, so this file changes only when a new kind of adapter comes.
"""

from collections.abc import Iterable
from pathlib import Path

from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.digest import hash_json
from ptefoundry.errors import ArtifactError
from ptefoundry.files import versioned_json, write_json

FORMAT_VERSION = 1


def write_signatures(adapters: Iterable[Path], into: Path) -> None:
    """Write the different signatures of canonical adapters, sorted by digest.

    Raises:
        AdapterError: one of the folders holds no canonical adapter.
    """
    modules = [load_adapter(folder).modules for folder in adapters]
    signatures = {hash_json(signature): signature for signature in modules}
    ordered = [signature for _digest, signature in sorted(signatures.items())]
    write_json(into, {"format_version": FORMAT_VERSION, "signatures": ordered})


def load_signatures(path: Path) -> list[dict[str, int]]:
    """Read what `write_signatures` wrote.

    Raises:
        ArtifactError: it is missing or of another format.
    """
    with versioned_json(
        path,
        FORMAT_VERSION,
        what="the adapters' signatures",
        remedy="run `ptefoundry build`",
        error=ArtifactError,
    ) as document:
        return list(document["signatures"])
