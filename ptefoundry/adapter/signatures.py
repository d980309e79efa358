"""The signatures of all adapters: what programs must be compiled for.

A signature is the rank of each adapted linear. Adapters of one signature share a
compiled template, so this file changes only when a new kind of adapter comes.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from ptefoundry.adapter.convert import load_adapter
from ptefoundry.digest import hash_json
from ptefoundry.errors import ArtifactError
from ptefoundry.files import write_json

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
    try:
        document = json.loads(path.read_bytes())
        version, signatures = document["format_version"], list(document["signatures"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(
            f"{path}: expected the adapters' signatures ({error!r}); run `ptefoundry build`"
        ) from error
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: format_version: expected {FORMAT_VERSION}, found {version!r}; "
            "run `ptefoundry build`"
        )
    return signatures
