"""The signatures of all adapters: what programs must be compiled for.

A signature is the rank of each adapted linear. Adapters of one signature share a
compiled template, so this file changes only when a new kind of adapter comes.
Where params.yaml asks for one template for all, they share the smallest that has
room for each.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.digest import hash_json
from ptefoundry.errors import ArtifactError
from ptefoundry.files import versioned_json, write_json

FORMAT_VERSION = 1


def merge_signatures(signatures: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The smallest signature that has room for all: the highest rank of each linear."""
    merged = dict[str, int]()
    for signature in signatures:
        for path, rank in signature.items():
            merged[path] = max(rank, merged.get(path, 0))
    return dict(sorted(merged.items()))


def write_signatures(adapters: Iterable[Path], into: Path, *, shared: bool = False) -> None:
    """Write the different signatures of canonical adapters, sorted by digest.

    Args:
        adapters: canonical folders.
        into: the file.
        shared: write one that has room for all of them instead.

    Raises:
        AdapterError: one of the folders holds no canonical adapter.
    """
    modules = [load_adapter(folder).modules for folder in adapters]
    if shared:
        modules = [merge_signatures(modules)]
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
