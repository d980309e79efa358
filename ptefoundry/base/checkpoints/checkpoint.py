"""A checkpoint of any format, seen as canonical tensors.

The formats differ in where a tensor is stored and in the order of rotated rows;
each describes its tensors as `StoredTensor`s under canonical names, and
`Checkpoint` does the rest alike for all: nothing missing, nothing left over, every
shape as the configuration says, rows in canonical order.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ptefoundry.base.canonical import TensorSpec
from ptefoundry.base.config import ModelConfig
from ptefoundry.base.layout import check_config, rotary_rows, tensor_shapes
from ptefoundry.errors import CheckpointError
from ptefoundry.rotary import half_to_interleaved

if TYPE_CHECKING:
    import torch

_MAX_LISTED = 8
"""Differences shown in full; the rest is counted."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a checkpoint's files."""

    origin: str
    """Its name in the checkpoint."""
    dtype: str
    """The dtype that `load` returns, as in `canonical.ITEM_BYTES`."""
    shape: tuple[int, ...]
    load: Callable[[], "torch.Tensor"]


class Checkpoint:
    """A base checkpoint whose tensors are read one at a time, in canonical layout."""

    def __init__(
        self,
        path: Path,
        config: ModelConfig,
        stored: Mapping[str, StoredTensor],
        *,
        half_rotary: bool,
    ) -> None:
        """Check that the tensors are exactly those of `config`.

        Args:
            path: what messages name.
            config: the base's shape.
            stored: every tensor by its canonical name.
            half_rotary: whether q and k rows are in transformers' half order, so
                that they must be reordered.

        Raises:
            CheckpointError: tensors are missing, left over or of another shape.
        """
        self.path = path
        self.config = config
        self._stored = stored
        self._half_rotary = half_rotary
        self._shapes = tensor_shapes(config)
        _check_tensors(path, self._shapes, stored)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stored = {}

    def names(self) -> tuple[str, ...]:
        """Canonical names in canonical order."""
        return tuple(self._shapes)

    def spec(self, name: str) -> TensorSpec:
        """Dtype and shape of a tensor, without reading it."""
        return TensorSpec(name, self._stored[name].dtype, self._shapes[name])

    def read(self, name: str) -> "torch.Tensor":
        """The tensor in canonical layout; not to be changed in place.

        Its dtype is the checkpoint's (F32, F16 or BF16), F32 where it was quantized.
        """
        tensor = self._stored[name].load()
        heads = rotary_rows(self.config, name)
        if heads is not None and self._half_rotary:
            return half_to_interleaved(tensor, heads)
        return tensor


def _check_tensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], stored: Mapping[str, StoredTensor]
) -> None:
    problems = [f"missing: {name}" for name in shapes if name not in stored]
    problems += [
        f"{stored[name].origin}: found shape {list(stored[name].shape)}, expected {list(shape)}"
        for name, shape in shapes.items()
        if name in stored and stored[name].shape != shape
    ]
    problems += [f"not expected: {stored[name].origin}" for name in stored if name not in shapes]
    if problems:
        raise tensors_error(path, problems)


def tensors_error(path: Path, problems: Iterable[str]) -> CheckpointError:
    """The error that lists what is wrong with a checkpoint's tensors."""
    found = list(problems)
    more = f"; and {len(found) - _MAX_LISTED} more" if len(found) > _MAX_LISTED else ""
    return CheckpointError(
        f"{path}: the tensors are not those of its configuration: "
        f"{'; '.join(found[:_MAX_LISTED])}{more}"
    )


def by_canonical_name(
    path: Path,
    config: ModelConfig,
    stored: Iterable[StoredTensor],
    rename: Callable[[str], str],
) -> dict[str, StoredTensor]:
    """Index a checkpoint's tensors by canonical name.

    Args:
        path: what messages name.
        config: says which tensors there may be.
        stored: the checkpoint's tensors under its own names.
        rename: canonical name -> the checkpoint's name.

    Raises:
        CheckpointError: the configuration contradicts itself, or a tensor has a
            name that no tensor of such a base has.
    """
    check_config(config, path)
    names = {rename(name): name for name in tensor_shapes(config)}
    tensors = list(stored)
    unknown = [f"not expected: {item.origin}" for item in tensors if item.origin not in names]
    if unknown:
        raise tensors_error(path, unknown)
    return {names[item.origin]: item for item in tensors}


def same_data(one: StoredTensor, other: StoredTensor) -> bool:
    """Whether two stored tensors have the same dtype, shape and elements."""
    import torch

    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return bool(torch.equal(one.load(), other.load()))
