"""The signature of an adapter as PEFT wrote it, from the header of its weights alone.

Converting looks at every number and compares with the base; what a program must be
compiled for follows from names and shapes, which is soon read for hundreds of adapters.
"""

from pathlib import Path

from ptefoundry.adapter.fit import canonical_path
from ptefoundry.adapter.spelling import parse_name
from ptefoundry.adapter.weights import WEIGHTS_FILE
from ptefoundry.errors import AdapterError
from ptefoundry.raw_tensors import open_tensors


def read_signature(folder: Path) -> dict[str, int]:
    """What `CanonicalAdapter.modules` will be if the adapter can be converted.

    Args:
        folder: with `adapter_model.safetensors`.

    Returns:
        Rank by canonical path of each adapted linear, sorted by path.

    Raises:
        AdapterError: the file is missing or cut, or has other tensors than LoRA matrices.
    """
    path = folder / WEIGHTS_FILE
    ranks: dict[str, int] = {}
    with open_tensors(path, AdapterError) as tensors:
        for name, tensor in tensors.tensors.items():
            parsed = parse_name(name)
            if parsed is None or len(tensor.shape) != 2:
                raise AdapterError(
                    f"{path}: {name}: expected a LoRA matrix of a decoder's linear, found shape "
                    f"{list(tensor.shape)}; `ptefoundry adapter check` tells what is supported"
                )
            rank = tensor.shape[0 if parsed.matrix == "a" else 1]
            if ranks.setdefault(canonical_path(parsed.module), rank) != rank:
                raise AdapterError(
                    f"{path}: {name}: expected rank {ranks[canonical_path(parsed.module)]} as its "
                    f"partner has, found {rank}; train the adapter again"
                )
    return dict(sorted(ranks.items()))
