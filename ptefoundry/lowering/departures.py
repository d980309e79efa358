"""Where linked programs have other bytes than an export in full, and must.

They compute the same. An export stores equal tensors once and numbers them alike, while
a template has a place for each; and linking marks zeros with their shape.
"""

from pathlib import Path

from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.digest import hash_bytes
from ptefoundry.errors import AdapterError
from ptefoundry.lowering.encodings import encode_fp32
from ptefoundry.lowering.foundation import load_foundation
from ptefoundry.lowering.padding import is_zeros
from ptefoundry.lowering.segments import content_digest
from ptefoundry.raw_tensors import open_tensors


def find_departure(foundation: Path, adapter: Path | None) -> str | None:
    """Why a program has other bytes than an export, None if it has the same.

    Args:
        foundation: folder of the base's foundation.
        adapter: canonical folder of an adapter that is not filled up; None for the base alone.

    Raises:
        ArtifactError: the foundation cannot be read.
        AdapterError: the adapter cannot be read.
    """
    return _of_base(foundation) or (_of_adapter(adapter) if adapter else None)


def _of_base(folder: Path) -> str | None:
    first: dict[str, str] = {}
    for tensor in load_foundation(folder).tensors:
        # What the delegate takes has its digest for a name, in an export too.
        if content_digest(tensor.key) is None:
            other = first.setdefault(tensor.sha256, tensor.key)
            if other != tensor.key:
                return f"{tensor.key} of the base equals {other}, and an export numbers them alike"
    return None


def _of_adapter(folder: Path) -> str | None:
    first: dict[str, str] = {}
    with open_tensors(load_adapter(folder).checked_file(), AdapterError) as tensors:
        for name in sorted(tensors.tensors):
            data = b"".join(encode_fp32(tensors, name))
            if is_zeros(data):
                return f"{name} has zeros only, and linking marks them with their shape"
            other = first.setdefault(hash_bytes(data), name)
            if other != name:
                return f"{name} equals {other}, and an export stores them once"
    return None
