"""A model of a base's shape in which every weight is a placeholder.

XNNPACK names constants by the sha256 of their bytes and stores equal ones once,
so each placeholder differs from all others: it is its number and zeros behind
it. The base's tensors are numbered first, so that theirs do not depend on an
adapter. Almost all of a placeholder is memory that is never written, which the
system does not provide before: a model of any size takes next to none.
"""

import math
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ptefoundry.base.config import ModelConfig

if TYPE_CHECKING:
    import torch

    from ptefoundry.model.transformer import Transformer

_OUTPUT, _EMBEDDINGS = "output.weight", "tok_embeddings.weight"
_CACHES = ("k_cache", "v_cache")


@dataclass(frozen=True)
class PlaceholderModel:
    """A model without weights, and its tensors by canonical name, fp32 all."""

    model: "Transformer"
    base: dict[str, "torch.Tensor"]
    adapter: dict[str, "torch.Tensor"]
    fixed: dict[str, "torch.Tensor"]
    """Constants that follow from the architecture alone."""


def placeholder_model(
    config: ModelConfig, signature: Mapping[str, int], context: int
) -> PlaceholderModel:
    """Make the model of a base with an adapter of the signature, empty for none.

    Args:
        config: shape of the base.
        signature: rank by canonical path of each adapted linear.
        context: length of the caches in tokens.
    """
    import torch
    from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  registers llama::

    from ptefoundry.model.lora import add_adapter
    from ptefoundry.model.transformer import Transformer

    with torch.device("meta"):
        model = Transformer(config, context)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    if config.tied_embeddings:
        del shapes[_OUTPUT]
    base = _placeholders(sorted(shapes.items()), first=1)
    tied = {_OUTPUT: base[_EMBEDDINGS]} if config.tied_embeddings else {}
    model.load_state_dict({**base, **tied}, assign=True)
    adapter = _placeholders(_adapter_shapes(config, signature), first=1 + len(base))
    add_adapter(model, signature, adapter)
    model.eval().requires_grad_(requires_grad=False)
    fixed = {name: buffer for name, buffer in model.named_buffers() if not name.endswith(_CACHES)}
    return PlaceholderModel(model, base, adapter, fixed)


def _adapter_shapes(
    config: ModelConfig, signature: Mapping[str, int]
) -> Iterable[tuple[str, tuple[int, ...]]]:
    for path, rank in sorted(signature.items()):
        _layers, _number, linear = path.split(".", 2)
        out_features, in_features = config.linear_shape(linear)
        yield f"{path}.lora_a", (rank, in_features)
        yield f"{path}.lora_b", (out_features, rank)


def _placeholders(
    shapes: Iterable[tuple[str, tuple[int, ...]]], *, first: int
) -> dict[str, "torch.Tensor"]:
    return {
        name: _placeholder(shape, number)
        for number, (name, shape) in enumerate(shapes, start=first)
    }


def _placeholder(shape: tuple[int, ...], number: int) -> "torch.Tensor":
    """fp32 zeros but for the first element; unlike torch's zeros they are not written."""
    import torch

    memory = mmap.mmap(-1, 4 * math.prod(shape))
    tensor = torch.frombuffer(memory, dtype=torch.float32)
    tensor[0] = number
    return tensor.view(shape)
