"""Meta's own checkpoints: `params.json` and `consolidated.NN.pth`.

Names and the interleaved order of rotated rows are the canonical ones. Several
files are shards of a model-parallel run, to be joined along the dimension that its
layer was split along (fairscale's Column- and RowParallelLinear).
"""

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ptefoundry.base.canonical import torch_dtype
from ptefoundry.base.checkpoints.checkpoint import (
    Checkpoint,
    StoredTensor,
    by_canonical_name,
    same_data,
    tensors_error,
)
from ptefoundry.base.checkpoints.meta_config import parse_params
from ptefoundry.base.fields import read_fields
from ptefoundry.base.layout import split_name
from ptefoundry.errors import CheckpointError

if TYPE_CHECKING:
    import torch

_SPLIT_ROWS = {
    "attention.wq",
    "attention.wk",
    "attention.wv",
    "feed_forward.w1",
    "feed_forward.w3",
    "output",
}
_SPLIT_COLUMNS = {"attention.wo", "feed_forward.w2"}

_TABLE, _HEAD = "tok_embeddings.weight", "output.weight"

#: Computed from params.json; Meta's own loader drops it, too.
_COMPUTED = "rope.freqs"


def open_meta(folder: Path) -> Checkpoint:
    """Open a folder with `params.json` and `consolidated.NN.pth`.

    Raises:
        CheckpointError: something is missing, malformed or not supported.
    """
    params = read_fields(folder / "params.json")
    paths = _shard_paths(folder)
    shards = [_load(path) for path in paths]
    _check_same_names(folder, shards)
    dim = params.size("dim")
    tensors = {
        name: _join(paths, name, [shard[name] for shard in shards], dim)
        for name in shards[0]
        if name != _COMPUTED
    }
    tied = _is_tied(tensors)
    if tied:
        tensors.pop(_HEAD, None)
    table_rows = tensors[_TABLE].shape[0] if _TABLE in tensors else None
    config = parse_params(params, table_rows=table_rows, tied=tied)
    stored = by_canonical_name(folder, config, tensors.values(), lambda name: name)
    return Checkpoint(folder, config, stored, half_rotary=False)


def _shard_paths(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("consolidated.*.pth"))
    numbers = [re.fullmatch(r"consolidated\.(\d+)\.pth", path.name) for path in paths]
    if [int(match[1]) for match in numbers if match] != list(range(len(paths))):
        raise CheckpointError(
            f"{folder}: expected consolidated.00.pth and so on without gaps, "
            f"found {', '.join(path.name for path in paths)}"
        )
    return paths


def _load(path: Path) -> "dict[str, torch.Tensor]":
    """Map a shard's tensors into memory; nothing is read before it is used."""
    import torch

    try:
        # weights_only: a checkpoint is data and must not run code.
        tensors = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path}: expected tensors that torch.save wrote as a zip file ({error})"
        ) from error
    if not isinstance(tensors, dict) or not all(map(torch.is_tensor, tensors.values())):
        raise CheckpointError(f"{path}: expected a dictionary of tensors")
    return tensors


def _check_same_names(folder: Path, shards: "list[dict[str, torch.Tensor]]") -> None:
    names = set(shards[0])
    differing = sorted(set().union(*(names ^ set(shard) for shard in shards)))
    if differing:
        raise tensors_error(folder, [f"{name} is not in every shard" for name in differing])


def _join(paths: list[Path], name: str, parts: "list[torch.Tensor]", dim: int) -> StoredTensor:
    """A tensor whose parts are in the shards at `paths`, in order."""
    dtypes = {torch_dtype(dtype): dtype for dtype in ("F32", "F16", "BF16")}
    found = {part.dtype for part in parts}
    if len(found) != 1 or not found <= set(dtypes):
        raise CheckpointError(
            f"{paths[0]}: {name}: found {', '.join(sorted(map(str, found)))}; "
            f"supported: one of {', '.join(dtypes.values())} in all shards"
        )
    axis = _split_axis(name, parts[0], dim)
    shape = list(parts[0].shape)
    if axis is not None:
        shape[axis] = sum(part.shape[axis] for part in parts)
    load = _loader(paths if axis is not None else paths[:1], name, axis or 0)
    return StoredTensor(name, dtypes[found.pop()], tuple(shape), load)


def _split_axis(name: str, part: "torch.Tensor", dim: int) -> int | None:
    """The dimension that model parallelism splits; None for copies in every shard."""
    _, module, _ = split_name(name)
    if module == "tok_embeddings":
        # Llama 3 splits the vocabulary, earlier ones each token's vector.
        return 0 if part.shape[-1] == dim else 1
    if module in _SPLIT_ROWS:
        return 0
    return 1 if module in _SPLIT_COLUMNS else None


def _loader(paths: list[Path], name: str, axis: int) -> "Callable[[], torch.Tensor]":
    def load() -> "torch.Tensor":
        import torch

        # The shards are mapped anew for each tensor: pages that were read go with it.
        parts = [_load(path)[name] for path in paths]
        return parts[0] if len(parts) == 1 else torch.cat(parts, axis)

    return load


def _is_tied(tensors: Mapping[str, StoredTensor]) -> bool:
    # params.json does not say it; Meta's files of tied bases have no head or repeat
    # the table.
    if _HEAD not in tensors or _TABLE not in tensors:
        return True
    return same_data(tensors[_HEAD], tensors[_TABLE])
