"""The tiny bases of `tiny_models` in other formats: Meta's and GGUF.

Each function reads a folder that `save_tiny_base` wrote and does what Meta's and
llama.cpp's own converters do, written independently of what is tested with it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    import torch

LAYER_NAMES = {
    "self_attn.q_proj": ("attention.wq", "attn_q"),
    "self_attn.k_proj": ("attention.wk", "attn_k"),
    "self_attn.v_proj": ("attention.wv", "attn_v"),
    "self_attn.o_proj": ("attention.wo", "attn_output"),
    "self_attn.q_norm": ("attention.q_norm_fn", "attn_q_norm"),
    "self_attn.k_norm": ("attention.k_norm_fn", "attn_k_norm"),
    "mlp.gate_proj": ("feed_forward.w1", "ffn_gate"),
    "mlp.up_proj": ("feed_forward.w3", "ffn_up"),
    "mlp.down_proj": ("feed_forward.w2", "ffn_down"),
    "input_layernorm": ("attention_norm", "attn_norm"),
    "post_attention_layernorm": ("ffn_norm", "ffn_norm"),
}
OUTER_NAMES = {
    "model.embed_tokens.weight": ("tok_embeddings.weight", "token_embd.weight"),
    "model.norm.weight": ("norm.weight", "output_norm.weight"),
    "lm_head.weight": ("output.weight", "output.weight"),
}
_META, _GGUF = 0, 1


def save_meta(
    base: Path, folder: Path, *, shards: int = 1, repeat_tied: bool = False, **params: Any
) -> None:
    """Write a Llama base as Meta does: `params.json` and `consolidated.NN.pth`.

    Args:
        base: what `save_tiny_base` wrote.
        folder: where to; made if missing.
        shards: number of model-parallel files.
        repeat_tied: write a tied table a second time as the head.
        **params: fields of params.json to add or override.
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((base / "config.json").read_text())
    tensors = _renamed(_tensors(base), _META, "layers")
    for name, tensor in tensors.items():
        heads = _rotary_heads(name, config)
        if heads:
            tensors[name] = interleave(tensor, heads)
    if repeat_tied:
        tensors["output.weight"] = tensors["tok_embeddings.weight"].clone()
    for index in range(shards):
        part = {name: _shard(name, tensor, shards, index) for name, tensor in tensors.items()}
        torch.save(part, folder / f"consolidated.{index:02}.pth")
    fields = {
        "dim": config["hidden_size"],
        "n_layers": config["num_hidden_layers"],
        "n_heads": config["num_attention_heads"],
        "n_kv_heads": config["num_key_value_heads"],
        "vocab_size": config["vocab_size"],
        "hidden_dim": config["intermediate_size"],
        "norm_eps": config["rms_norm_eps"],
        "rope_theta": config["rope_parameters"]["rope_theta"],
        "max_seq_len": config["max_position_embeddings"],
    }
    (folder / "params.json").write_text(json.dumps({**fields, **params}))
    (folder / "tokenizer.json").write_bytes((base / "tokenizer.json").read_bytes())
    (folder / "tokenizer_config.json").write_bytes((base / "tokenizer_config.json").read_bytes())


def save_gguf(
    base: Path,
    folder: Path,
    *,
    kind: str = "F32",
    raw: "Mapping[str, numpy.ndarray[Any, Any]] | None" = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a base with its tokenizer as `model.gguf`, as llama.cpp's converter does.

    Args:
        base: what `save_tiny_base` wrote.
        folder: where to; made if missing.
        kind: GGML type of the matrices; norms and biases stay F32.
        raw: GGUF name -> blocks that are already encoded as `kind`.
        metadata: fields to add or replace; None leaves a field out.
    """
    import gguf

    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((base / "config.json").read_text())
    path = folder / "model.gguf"
    writer = gguf.GGUFWriter(path, config["model_type"])
    for name, value in _gguf_sizes(config).items():
        _add_field(writer, name, value)
    _add_vocabulary(writer, base)
    for name, value in (metadata or {}).items():
        writer.kv_data[0].pop(name, None)
        if value is not None:
            _add_field(writer, name, value)
    for name, tensor in _gguf_tensors(base, config).items():
        _add_tensor(writer, name, tensor, kind, raw or {})
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def interleave(rows: "torch.Tensor", heads: int) -> "torch.Tensor":
    """Half order -> interleaved order, as `LlamaModel.permute` of llama.cpp does."""
    split = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return split.swapaxes(1, 2).reshape(rows.shape).contiguous()


def rope_factors(rope: Mapping[str, Any], head_dim: int) -> list[float]:
    """Llama-3's divisors of the rotary frequencies, as llama.cpp's converter has them."""
    import math

    low = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
    high = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
    factors = []
    for index in range(0, head_dim, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (index / head_dim)
        if wavelength < high:
            factors.append(1.0)
        elif wavelength > low:
            factors.append(rope["factor"])
        else:
            smooth = rope["original_max_position_embeddings"] / wavelength
            smooth = (smooth - rope["low_freq_factor"]) / (
                rope["high_freq_factor"] - rope["low_freq_factor"]
            )
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return factors


def _tensors(base: Path) -> "dict[str, torch.Tensor]":
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = {}
    for path in sorted(base.glob("*.safetensors")):
        found.update(load_file(path))
    return found


def _renamed(
    tensors: "Mapping[str, torch.Tensor]", column: int, layers: str
) -> "dict[str, torch.Tensor]":
    result = {}
    for name, tensor in tensors.items():
        if name in OUTER_NAMES:
            result[OUTER_NAMES[name][column]] = tensor
            continue
        _, _, layer, rest = name.split(".", 3)
        module, kind = rest.rsplit(".", 1)
        result[f"{layers}.{layer}.{LAYER_NAMES[module][column]}.{kind}"] = tensor
    return result


def _rotary_heads(name: str, config: Mapping[str, Any]) -> int:
    if ".wq." in name or ".attn_q." in name:
        return int(config["num_attention_heads"])
    if ".wk." in name or ".attn_k." in name:
        return int(config["num_key_value_heads"])
    return 0


def _shard(name: str, tensor: "torch.Tensor", shards: int, index: int) -> "torch.Tensor":
    if "norm" in name:
        return tensor.clone()
    axis = 1 if ".wo." in name or ".w2." in name else 0
    return tensor.chunk(shards, axis)[index].clone()


def _gguf_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    kind = config["model_type"]
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    fields = {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "rope.freq_base": float(config["rope_parameters"]["rope_theta"]),
        "rope.dimension_count": head_dim,
    }
    if kind == "qwen3":
        fields |= {"attention.key_length": head_dim, "attention.value_length": head_dim}
    return {f"{kind}.{name}": value for name, value in fields.items()}


def _gguf_tensors(base: Path, config: Mapping[str, Any]) -> "dict[str, torch.Tensor]":
    import torch

    tensors = _renamed(_tensors(base), _GGUF, "blk")
    if config["model_type"] != "llama":
        return tensors
    for name, tensor in tensors.items():
        heads = _rotary_heads(name, config)
        if heads:
            tensors[name] = interleave(tensor, heads)
    rope = config["rope_parameters"]
    if rope["rope_type"] == "llama3":
        tensors["rope_freqs.weight"] = torch.tensor(rope_factors(rope, config["head_dim"]))
    return tensors


def _add_tensor(
    writer: Any, name: str, tensor: "torch.Tensor", kind: str, raw: Mapping[str, Any]
) -> None:
    import gguf

    # llama.cpp keeps one-dimensional tensors in F32 whatever the file's type is.
    kind = kind if tensor.dim() > 1 else "F32"
    qtype = gguf.GGMLQuantizationType[kind]
    data = raw.get(name)
    if data is None:
        data = gguf.quantize(tensor.float().numpy(), qtype)
    # The writer takes shape and type of F32 and F16 from the array itself.
    writer.add_tensor(name, data, raw_dtype=None if kind in ("F32", "F16") else qtype)


def _add_field(writer: Any, name: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, str):
        writer.add_string(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    elif isinstance(value, list):
        writer.add_array(name, value)
    else:
        writer.add_uint32(name, value)


def _add_vocabulary(writer: Any, base: Path) -> None:
    content = json.loads((base / "tokenizer.json").read_text())
    settings = json.loads((base / "tokenizer_config.json").read_text())
    ids = {**content["model"]["vocab"], **{t["content"]: t["id"] for t in content["added_tokens"]}}
    tokens = sorted(ids, key=ids.__getitem__)
    control = {token["content"] for token in content["added_tokens"] if token["special"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in control else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in content["model"]["merges"]])
    writer.add_bos_token_id(ids[settings["bos_token"]])
    writer.add_eos_token_id(ids[settings["eos_token"]])
    if "chat_template" in settings:
        writer.add_chat_template(settings["chat_template"])
