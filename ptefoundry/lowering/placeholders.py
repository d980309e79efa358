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
from typing import TYPE_CHECKING, Literal

from ptefoundry.base.config import ModelConfig
from ptefoundry.lowering.encodings import FP32, embedding_encoding
from ptefoundry.lowering.template import Kind
from ptefoundry.params import EmbeddingScheme, XnnpackParams

if TYPE_CHECKING:
    import torch

    from ptefoundry.model.transformer import Transformer

_OUTPUT, _EMBEDDINGS = "output.weight", "tok_embeddings.weight"
_CACHES = ("k_cache", "v_cache")


@dataclass(frozen=True)
class Placeholder:
    """One constant of the model."""

    name: str
    kind: Kind
    source: str
    """Canonical tensor that it stands for."""
    encoding: str
    """How it is made of that; see `ptefoundry.lowering.encodings`."""
    shape: tuple[int, ...]
    """Of the canonical tensor."""
    tensor: "torch.Tensor"
    """As the compiler sees it."""

    @property
    def data(self) -> memoryview:
        """Its bytes."""
        return memoryview(self.tensor.numpy()).cast("B")


@dataclass(frozen=True)
class PlaceholderModel:
    """A model without weights, and all of its constants."""

    model: "Transformer"
    constants: tuple[Placeholder, ...]


def placeholder_model(
    config: ModelConfig, signature: Mapping[str, int], params: XnnpackParams
) -> PlaceholderModel:
    """Make the model of a base with an adapter of the signature, empty for none.

    Args:
        config: shape of the base.
        signature: rank by canonical path of each adapted linear.
        params: length of the caches, and how to quantize.

    Raises:
        ConfigError: the model cannot be quantized so.
    """
    import torch

    from ptefoundry.model.lora import add_adapter
    from ptefoundry.model.transformer import Transformer

    with torch.device("meta"):
        model = Transformer(config, params.context_length)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    if config.tied_embeddings:
        del shapes[_OUTPUT]
    base = _placeholders(sorted(shapes.items()), first=1)
    tied = {_OUTPUT: base[_EMBEDDINGS]} if config.tied_embeddings else {}
    model.load_state_dict({**base, **tied}, assign=True)
    adapter = _placeholders(_adapter_shapes(config, signature), first=1 + len(base))
    add_adapter(model, signature, adapter)
    fixed = {name: buffer for name, buffer in model.named_buffers() if not name.endswith(_CACHES)}
    table: list[Placeholder] = []
    if params.embedding_scheme is not None:
        table = _quantize_table(model, params.embedding_scheme)
        if config.tied_embeddings:
            table.append(_plain("base", _OUTPUT, base[_EMBEDDINGS], source=_EMBEDDINGS))
        del base[_EMBEDDINGS]
    model.eval().requires_grad_(requires_grad=False)
    constants = (
        *table,
        *(_plain("base", name, tensor) for name, tensor in base.items()),
        *(_plain("adapter", name, tensor) for name, tensor in adapter.items()),
        *(_plain("fixed", name, tensor) for name, tensor in fixed.items()),
    )
    return PlaceholderModel(model, constants)


def _plain(
    kind: Kind, name: str, tensor: "torch.Tensor", *, source: str | None = None
) -> Placeholder:
    return Placeholder(name, kind, source or name, FP32, tuple(tensor.shape), tensor)


def _quantize_table(model: "Transformer", scheme: EmbeddingScheme) -> list[Placeholder]:
    from ptefoundry.model.embedding import quantize_embedding

    shape = tuple(model.tok_embeddings.weight.shape)
    quantize_embedding(model, scheme)
    parts: tuple[Literal["weight", "scales"], ...] = ("weight", "scales")
    return [
        Placeholder(
            name=f"tok_embeddings.{part}",
            kind="base",
            source=_EMBEDDINGS,
            encoding=embedding_encoding(scheme.bits, scheme.group, part),
            shape=shape,
            tensor=getattr(model.tok_embeddings, part).contiguous(),
        )
        for part in parts
    ]


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

    # Shared memory, which is mmap's default, would be provided as soon as it is read.
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = mmap.mmap(-1, 4 * math.prod(shape), flags=private)
    tensor = torch.frombuffer(memory, dtype=torch.float32)
    tensor[0] = number
    return tensor.view(shape)
