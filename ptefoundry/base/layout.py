"""Names, shapes and rotary rows of a canonical base's tensors, in their fixed order.

`ptefoundry.base.config` says what the names mean. The order is that of use:
embedding, layers, last norm, head.
"""

import re
from pathlib import Path

from ptefoundry.base.config import ModelConfig
from ptefoundry.errors import CheckpointError

_LINEARS = (
    "attention.wq",
    "attention.wk",
    "attention.wv",
    "attention.wo",
    "feed_forward.w1",
    "feed_forward.w2",
    "feed_forward.w3",
)
_BIASED = ("attention.wq", "attention.wk", "attention.wv")
_HEAD_NORMS = ("attention.q_norm_fn", "attention.k_norm_fn")
_IN_LAYER = re.compile(r"layers\.(\d+)\.(.+)\.(weight|bias)")
_MAX_LAYERS = 4096


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of the base by canonical name, in canonical order."""
    shapes: dict[str, tuple[int, ...]] = {"tok_embeddings.weight": (config.vocab_size, config.dim)}
    layer = _layer_shapes(config)
    for index in range(config.n_layers):
        shapes.update({f"layers.{index}.{name}": shape for name, shape in layer.items()})
    shapes["norm.weight"] = (config.dim,)
    if not config.tied_embeddings:
        shapes["output.weight"] = (config.vocab_size, config.dim)
    return shapes


def _layer_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"attention_norm.weight": (config.dim,)}
    for path in _LINEARS:
        shapes[f"{path}.weight"] = config.linear_shape(path)
        if config.qkv_bias and path in _BIASED:
            shapes[f"{path}.bias"] = config.linear_shape(path)[:1]
    if config.qk_norm:
        shapes.update({f"{path}.weight": (config.head_dim,) for path in _HEAD_NORMS})
    shapes["ffn_norm.weight"] = (config.dim,)
    return shapes


def split_name(name: str) -> tuple[int | None, str, str]:
    """Take a canonical name apart.

    `layers.3.attention.wq.bias` is (3, "attention.wq", "bias"), `norm.weight` is
    (None, "norm", "weight").
    """
    match = _IN_LAYER.fullmatch(name)
    if match:
        return int(match[1]), match[2], match[3]
    module, _, kind = name.rpartition(".")
    return None, module, kind


def rotary_rows(config: ModelConfig, name: str) -> int | None:
    """Number of heads whose rotated rows the tensor has; None if it has none."""
    _, module, _ = split_name(name)
    return 1 if module in _HEAD_NORMS else config.rotary_heads(module)


def check_config(config: ModelConfig, path: Path) -> None:
    """Refuse sizes that contradict each other; `path` is the file they came from.

    Raises:
        CheckpointError: names the sizes that do not fit.
    """
    problems = []
    if config.n_heads % config.n_kv_heads:
        problems.append(f"{config.n_heads} heads over {config.n_kv_heads} key/value heads")
    if config.head_dim % 2:
        problems.append(f"rotary embeddings over an odd head size of {config.head_dim}")
    if config.n_layers > _MAX_LAYERS:
        problems.append(f"{config.n_layers} layers, more than {_MAX_LAYERS}")
    if problems:
        raise CheckpointError(f"{path}: sizes that no model can have: {'; '.join(problems)}")
