"""GGUF checkpoints: one file with metadata, tokenizer and tensors.

llama.cpp's converter reorders Llama's rotated rows to interleaved order and leaves
Qwen's in half order, as its runtime rotates the two differently. A head that is not
there is tied to the embedding table.
"""

import struct
from pathlib import Path
from typing import Any

from ptefoundry.base.checkpoints.checkpoint import Checkpoint, StoredTensor, by_canonical_name
from ptefoundry.base.checkpoints.gguf_file import GgufFile, GgufTensor
from ptefoundry.base.checkpoints.gguf_rope import derive_scaling
from ptefoundry.base.config import ModelConfig, RopeScaling
from ptefoundry.base.fields import Fields
from ptefoundry.base.layout import split_name
from ptefoundry.errors import CheckpointError

_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}

_MODULES = {
    "tok_embeddings": "token_embd",
    "norm": "output_norm",
    "output": "output",
    "attention_norm": "attn_norm",
    "ffn_norm": "ffn_norm",
    "attention.wq": "attn_q",
    "attention.wk": "attn_k",
    "attention.wv": "attn_v",
    "attention.wo": "attn_output",
    "attention.q_norm_fn": "attn_q_norm",
    "attention.k_norm_fn": "attn_k_norm",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down",
    "feed_forward.w3": "ffn_up",
}

_ROPE_FACTORS = "rope_freqs.weight"

_SIZES = (
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.freq_base",
    "rope.dimension_count",
    "vocab_size",
)
"""What is read of an architecture's metadata."""

_ALLOWED: dict[str, tuple[object, ...]] = {
    "attention.causal": (True,),
    "rope.scaling.type": ("none",),
    "rope.scaling.finetuned": (False,),
    "rope.scale_linear": (1.0,),
    "tensor_data_layout": ("Meta AI original pth",),
    "expert_count": (0,),
    "expert_used_count": (0,),
}
"""Further metadata that may be there if it has one of these values."""


def find_gguf(folder: Path) -> list[Path]:
    """The GGUF files in a folder."""
    return sorted(folder.glob("*.gguf"))


def read_gguf(folder: Path) -> GgufFile:
    """Read the header of the one GGUF file in `folder`.

    Raises:
        CheckpointError: there are several, or it is not a model in one file.
    """
    paths = find_gguf(folder)
    if len(paths) != 1:
        names = ", ".join(path.name for path in paths) or "none"
        raise CheckpointError(f"{folder}: expected one *.gguf, found {names}; keep one of them")
    file = GgufFile(paths[0])
    fields = Fields(file.path, file.metadata)
    fields.require("general.type", "model")
    if fields.get("split.count", 1) != 1:
        raise fields.refuse("split.count", "one file (join it with llama-gguf-split --merge)")
    return file


def open_gguf(folder: Path) -> Checkpoint:
    """Open a folder with one GGUF file.

    Raises:
        CheckpointError: something is missing, malformed or not supported.
    """
    file = read_gguf(folder)
    config = parse_metadata(file)
    llama = config.architecture == _ARCHITECTURES["llama"]
    tensors = [
        StoredTensor(name, tensor.dtype, tensor.shape, _loader(file, tensor))
        for name, tensor in file.tensors.items()
        if not (name == _ROPE_FACTORS and llama)
        and not (name == "output.weight" and config.tied_embeddings)
    ]
    stored = by_canonical_name(file.path, config, tensors, gguf_name)
    return Checkpoint(file.path, config, stored, half_rotary=not llama)


def gguf_name(name: str) -> str:
    """The name that llama.cpp gives a canonical tensor."""
    layer, module, kind = split_name(name)
    prefix = "" if layer is None else f"blk.{layer}."
    return f"{prefix}{_MODULES[module]}.{kind}"


def parse_metadata(file: GgufFile) -> ModelConfig:
    """The base's shape out of a GGUF file's metadata.

    Raises:
        CheckpointError: a field is missing, malformed or not supported.
    """
    general = Fields(file.path, file.metadata)
    kind = general.text("general.architecture")
    if kind not in _ARCHITECTURES:
        raise general.refuse("general.architecture", ", ".join(_ARCHITECTURES))
    _refuse_unsupported(general, kind)
    heads, dim = (
        general.size(f"{kind}.attention.head_count"),
        general.size(f"{kind}.embedding_length"),
    )
    head_dim = _head_dim(general, kind, dim // heads)
    theta = _shortest(general.number(f"{kind}.rope.freq_base", 10000.0))
    return ModelConfig(
        architecture=_ARCHITECTURES[kind],
        dim=dim,
        n_layers=general.size(f"{kind}.block_count"),
        n_heads=heads,
        n_kv_heads=general.size(f"{kind}.attention.head_count_kv", heads),
        head_dim=head_dim,
        hidden_dim=general.size(f"{kind}.feed_forward_length"),
        vocab_size=_vocab_size(file, general, kind),
        norm_eps=_shortest(general.number(f"{kind}.attention.layer_norm_rms_epsilon")),
        rope_theta=theta,
        max_context=general.size(f"{kind}.context_length"),
        tied_embeddings=_is_tied(file),
        qkv_bias=kind == "qwen2",
        qk_norm=kind == "qwen3",
        rope_scaling=_rope_scaling(file, theta, head_dim) if kind == "llama" else None,
    )


def _refuse_unsupported(fields: Fields, kind: str) -> None:
    known = {f"{kind}.{name}" for name in (*_SIZES, *_ALLOWED)}
    for name, allowed in _ALLOWED.items():
        fields.require(f"{kind}.{name}", *allowed)
    for name in sorted(fields.values):
        if name.startswith(f"{kind}.") and name not in known:
            raise fields.refuse(name, "no such field (it would change what is computed)")


def _head_dim(fields: Fields, kind: str, default: int) -> int:
    size = fields.size(f"{kind}.attention.key_length", default)
    fields.require(f"{kind}.attention.value_length", size)
    fields.require(f"{kind}.rope.dimension_count", size)
    return size


def _vocab_size(file: GgufFile, fields: Fields, kind: str) -> int:
    # Not every file says it; the table's rows are what counts.
    table = file.tensors.get(gguf_name("tok_embeddings.weight"))
    return table.shape[0] if table else fields.size(f"{kind}.vocab_size")


def _is_tied(file: GgufFile) -> bool:
    head = file.tensors.get(gguf_name("output.weight"))
    table = file.tensors.get(gguf_name("tok_embeddings.weight"))
    if head is None or table is None:
        return True
    if (head.kind, head.shape) != (table.kind, table.shape):
        return False
    return file.read_raw(head) == file.read_raw(table)


def _rope_scaling(file: GgufFile, theta: float, head_dim: int) -> RopeScaling | None:
    tensor = file.tensors.get(_ROPE_FACTORS)
    if tensor is None:
        return None
    factors: list[float] = file.read(tensor).flatten().tolist()
    if all(factor == 1 for factor in factors):
        return None
    scaling = derive_scaling(factors, theta, head_dim)
    if scaling is None:
        raise Fields(file.path, {_ROPE_FACTORS: factors}).refuse(
            _ROPE_FACTORS, "the factors of Llama-3's rope scaling"
        )
    return scaling


def _loader(file: GgufFile, tensor: GgufTensor) -> Any:
    return lambda: file.read(tensor)


def _shortest(value: float) -> float:
    """The shortest decimal number that is the same float32: 1e-5, not 9.99999975e-06."""
    single = struct.pack("<f", value)
    candidates = (float(f"{value:.{digits}g}") for digits in range(1, 10))
    return next((number for number in candidates if struct.pack("<f", number) == single), value)
