"""A model of a base's shape in which every weight is a placeholder.

XNNPACK names constants by the sha256 of their bytes and stores equal ones once,
so each placeholder differs from all others: it is its number and zeros behind
it. Quantized linears get integers and scales at once, since zeros would be
quantized to equal ones. The base's tensors are numbered first, so that theirs do not depend on an
adapter. Almost all of a placeholder is memory that is never written, which the
system does not provide before: a model of any size takes next to none.
"""

import itertools
import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ptefoundry.base.config import ModelConfig
from ptefoundry.lowering.encodings import (
    FP16,
    FP32,
    Part,
    embedding_encoding,
    linear_encoding,
)
from ptefoundry.lowering.template import Kind
from ptefoundry.params import XnnpackParams
from ptefoundry.schemes import EmbeddingScheme, HalfScheme, LinearScheme, Schemes

if TYPE_CHECKING:
    import torch

    from ptefoundry.model.transformer import Transformer

_OUTPUT, _EMBEDDINGS = "output.weight", "tok_embeddings.weight"
_CACHES = ("k_cache", "v_cache")
_DIGIT_BITS, _DIGITS = 3, 8
_PARTS: tuple[Part, ...] = ("weight", "scales")


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
    pack: "Callable[[torch.Tensor], torch.Tensor] | None" = None
    """What the compiler makes of that; None: nothing else."""

    @property
    def data(self) -> memoryview:
        """Its bytes, as they are stored."""
        stored = self.pack(self.tensor) if self.pack else self.tensor
        return memoryview(stored.numpy()).cast("B")


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
    fixed = {name: buffer for name, buffer in model.named_buffers() if not name.endswith(_CACHES)}
    numbers = itertools.count(1)
    linears = _quantize_linears(model, params.schemes, numbers, tied=config.tied_embeddings)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    is_tied = config.tied_embeddings and _OUTPUT in shapes
    if is_tied:
        del shapes[_OUTPUT]
    base = _placeholders(sorted(shapes.items()), numbers)
    tied = {_OUTPUT: base[_EMBEDDINGS]} if is_tied else {}
    model.load_state_dict({**base, **tied}, assign=True)
    adapter = _placeholders(_adapter_shapes(config, signature), numbers)
    add_adapter(model, signature, adapter)
    table: list[Placeholder] = []
    if params.schemes.embedding is not None:
        table = _replace_table(model, params.schemes.embedding)
        if is_tied:
            table.append(_plain("base", _OUTPUT, base[_EMBEDDINGS], source=_EMBEDDINGS))
        del base[_EMBEDDINGS]
    model.eval().requires_grad_(requires_grad=False)
    constants = (
        *table,
        *linears,
        *(_plain("base", name, tensor) for name, tensor in base.items()),
        *(_plain("adapter", name, tensor) for name, tensor in adapter.items()),
        *(_plain("fixed", name, tensor) for name, tensor in fixed.items()),
    )
    return PlaceholderModel(model, constants)


def _plain(
    kind: Kind, name: str, tensor: "torch.Tensor", *, source: str | None = None
) -> Placeholder:
    return Placeholder(name, kind, source or name, FP32, tuple(tensor.shape), tensor)


def _replace_table(model: "Transformer", scheme: EmbeddingScheme | HalfScheme) -> list[Placeholder]:
    if isinstance(scheme, EmbeddingScheme):
        return _quantize_table(model, scheme)
    from ptefoundry.model.half import HalfEmbedding

    number = int(model.tok_embeddings.weight.view(-1)[0])
    tensor = _half_placeholder(tuple(model.tok_embeddings.weight.shape), number)
    model.set_submodule("tok_embeddings", HalfEmbedding(tensor))
    return [Placeholder(_EMBEDDINGS, "base", _EMBEDDINGS, FP16, tuple(tensor.shape), tensor)]


def _quantize_table(model: "Transformer", scheme: EmbeddingScheme) -> list[Placeholder]:
    from ptefoundry.model.embedding import quantize_embedding

    shape = tuple(model.tok_embeddings.weight.shape)
    quantize_embedding(model, scheme)
    return [
        Placeholder(
            name=f"tok_embeddings.{part}",
            kind="base",
            source=_EMBEDDINGS,
            encoding=embedding_encoding(scheme.bits, scheme.group, part),
            shape=shape,
            tensor=getattr(model.tok_embeddings, part).contiguous(),
        )
        for part in _PARTS
    ]


def _quantize_linears(
    model: "Transformer", schemes: Schemes, numbers: Iterator[int], *, tied: bool
) -> list[Placeholder]:
    if schemes.linear is None and schemes.head is None:
        return []
    from ptefoundry.model.linear import HEAD, linear_schemes

    chosen = linear_schemes(model, schemes)
    return [
        placeholder
        for path, scheme in sorted(chosen.items())
        for placeholder in _replace_linear(
            model,
            path,
            scheme,
            numbers,
            source=_EMBEDDINGS if tied and path == HEAD else f"{path}.weight",
        )
    ]


def _replace_linear(
    model: "Transformer",
    path: str,
    scheme: LinearScheme | HalfScheme,
    numbers: Iterator[int],
    *,
    source: str,
) -> Iterator[Placeholder]:
    """Replace a linear by one of placeholders."""
    if isinstance(scheme, LinearScheme):
        yield from _quantize_linear(model, path, scheme, numbers, source=source)
        return
    from ptefoundry.model.half import HalfLinear

    linear = model.get_submodule(path)
    shape = tuple(linear.weight.shape)
    tensor = _half_placeholder(shape, next(numbers))
    model.set_submodule(path, HalfLinear(tensor, linear.bias))
    yield Placeholder(f"{path}.weight", "base", source, FP16, shape, tensor)


def _quantize_linear(
    model: "Transformer", path: str, scheme: LinearScheme, numbers: Iterator[int], *, source: str
) -> Iterator[Placeholder]:
    import torch

    from ptefoundry.model.linear import QuantizedLinear, pack_scales, pack_weight

    linear = model.get_submodule(path)
    rows, columns = linear.weight.shape
    shape = (rows, columns // scheme.group) if scheme.group else (rows,)
    tensors = {
        "weight": _with_digits(_zeros((rows, columns), "int8"), next(numbers)),
        # The delegate refuses scales of zero.
        "scales": _with_digits(torch.ones(shape), next(numbers)),
    }
    model.set_submodule(path, QuantizedLinear(scheme, **tensors, bias=linear.bias))
    packing = {"weight": pack_weight, "scales": pack_scales}
    for part in _PARTS:
        yield Placeholder(
            name=f"{path}.{part}",
            kind="base",
            source=source,
            encoding=linear_encoding(scheme, part),
            shape=(rows, columns),
            tensor=tensors[part],
            pack=partial(packing[part], bits=scheme.bits),
        )


def _adapter_shapes(
    config: ModelConfig, signature: Mapping[str, int]
) -> Iterable[tuple[str, tuple[int, ...]]]:
    for path, rank in sorted(signature.items()):
        _layers, _number, linear = path.split(".", 2)
        out_features, in_features = config.linear_shape(linear)
        yield f"{path}.lora_a", (rank, in_features)
        yield f"{path}.lora_b", (out_features, rank)


def _placeholders(
    shapes: Iterable[tuple[str, tuple[int, ...]]], numbers: Iterator[int]
) -> dict[str, "torch.Tensor"]:
    return {name: _placeholder(shape, next(numbers)) for name, shape in shapes}


def _placeholder(shape: tuple[int, ...], number: int) -> "torch.Tensor":
    """fp32 zeros but for the first element."""
    tensor = _zeros(shape, "float32")
    tensor.view(-1)[0] = number
    return tensor


def _half_placeholder(shape: tuple[int, ...], number: int) -> "torch.Tensor":
    """fp16 zeros but for negative digits, which no bytes of a placeholder of another type are."""
    return _with_digits(_zeros(shape, "float16"), number, sign=-1)


def _with_digits(tensor: "torch.Tensor", number: int, *, sign: int = 1) -> "torch.Tensor":
    """Add a number's octal digits, which 4-bit integers and halves have all, in place."""
    flat = tensor.view(-1)
    for index in range(_DIGITS):
        flat[index] += sign * (number >> index * _DIGIT_BITS & (1 << _DIGIT_BITS) - 1)
    return tensor


def _zeros(shape: tuple[int, ...], dtype: str) -> "torch.Tensor":
    """Unlike torch's zeros they are not written, and so take no memory."""
    import torch

    # Shared memory, which is mmap's default, would be provided as soon as it is read.
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    kind = getattr(torch, dtype)
    memory = mmap.mmap(-1, kind.itemsize * math.prod(shape), flags=private)
    return torch.frombuffer(memory, dtype=kind).view(shape)
