"""LoRA adapters written without torch and PEFT, so that every part can be wrong.

`write_adapter` makes a correct adapter of `TINY`; tests change one thing of it.
"""

import json
import random
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ptefoundry.adapter.fields import CONFIG_FILE
from ptefoundry.adapter.weights import WEIGHTS_FILE
from ptefoundry.base.config import LINEARS, ModelConfig

TINY = ModelConfig(
    architecture="LlamaForCausalLM",
    dim=16,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    head_dim=4,
    hidden_dim=24,
    vocab_size=32,
    norm_eps=1e-5,
    rope_theta=10000.0,
    max_context=64,
    tied_embeddings=True,
)

FIELDS = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "example/tiny",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj", "v_proj"],
}
"""A configuration that fits `TINY` and the tensors of `lora_tensors()`."""

Tensor = tuple[str, tuple[int, ...], bytes]
"""dtype as safetensors spells it, shape and bytes."""


def write_adapter(
    folder: Path,
    *,
    fields: dict[str, Any] | None = None,
    tensors: dict[str, Tensor] | None = None,
    without: Iterable[str] = (),
    **changes: Any,
) -> Path:
    """Write an adapter of `TINY` for q_proj and v_proj; returns its folder.

    Args:
        folder: where to; made if missing.
        fields: the whole configuration instead of `FIELDS`.
        tensors: all tensors instead of `lora_tensors()`.
        without: fields to leave out.
        **changes: further or other fields.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {**(FIELDS if fields is None else fields), **changes}
    for name in without:
        del config[name]
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    write_tensors(folder / WEIGHTS_FILE, lora_tensors() if tensors is None else tensors)
    return folder


def lora_tensors(
    targets: Iterable[str] = ("q_proj", "v_proj"),
    *,
    layers: Iterable[int] = (0, 1),
    rank: int = 2,
    config: ModelConfig = TINY,
) -> dict[str, Tensor]:
    """Random fp32 matrices under PEFT's names."""
    modules = {name.split(".")[1]: name for name in LINEARS}
    tensors = {}
    for layer in layers:
        for target in targets:
            out_features, in_features = config.linear_shape(LINEARS[modules[target]])
            prefix = f"base_model.model.model.layers.{layer}.{modules[target]}"
            tensors[f"{prefix}.lora_A.weight"] = fp32(rank, in_features)
            tensors[f"{prefix}.lora_B.weight"] = fp32(out_features, rank)
    return tensors


def fp32(*shape: int, seed: int = 0) -> Tensor:
    """A tensor of random numbers between -1 and 1."""
    count = 1
    for size in shape:
        count *= size
    numbers = random.Random(f"{seed} {shape}")
    return "F32", shape, struct.pack(f"<{count}f", *(numbers.uniform(-1, 1) for _ in range(count)))


def filled(tensor: Tensor, number: bytes, *, dtype: str = "F32") -> Tensor:
    """A tensor of the same shape that repeats one number, given by its bytes."""
    count = len(tensor[2]) // {"F32": 4, "F16": 2, "BF16": 2}[tensor[0]]
    return dtype, tensor[1], number * count


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file (https://github.com/huggingface/safetensors#format)."""
    header, data = {}, b""
    for name, (dtype, shape, part) in tensors.items():
        end = len(data) + len(part)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), end]}
        data += part
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def save_peft_adapter(
    base: Path, folder: Path, *, seed: int = 1, dtype: str = "float32", **lora_config: Any
) -> None:
    """Write a random adapter of the base in `base` with PEFT itself.

    Args:
        base: what `tiny_models.save_tiny_base` wrote.
        folder: where to; made if missing.
        seed: of A and B.
        dtype: of the stored tensors, for instance `bfloat16`.
        **lora_config: fields of `peft.LoraConfig`.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    settings = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", **lora_config}
    adapted = get_peft_model(model, LoraConfig(**settings))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data = (noise / parameter.shape[-1] ** 0.5).to(getattr(torch, dtype))
    adapted.save_pretrained(folder)


def edit_fields(folder: Path, **changes: Any) -> None:
    """Change fields of an adapter's configuration."""
    path = folder / CONFIG_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rename_tensors(folder: Path, rename: Callable[[str], str]) -> None:
    """Change the names of an adapter's tensors."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS_FILE)
    save_file({rename(name): tensor for name, tensor in tensors.items()}, folder / WEIGHTS_FILE)
