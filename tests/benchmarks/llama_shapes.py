"""A random base of Llama-3.2-1B's shapes and adapters for it, in the formats that they come in."""

import json
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LAYERS, DIM, HIDDEN, VOCAB = 16, 2048, 8192, 128_256
HEADS, KV_HEADS, HEAD_DIM = 32, 8, 64
RANK = 16
LINEARS = {
    "self_attn.q_proj": (HEADS * HEAD_DIM, DIM),
    "self_attn.k_proj": (KV_HEADS * HEAD_DIM, DIM),
    "self_attn.v_proj": (KV_HEADS * HEAD_DIM, DIM),
    "self_attn.o_proj": (DIM, HEADS * HEAD_DIM),
    "mlp.gate_proj": (HIDDEN, DIM),
    "mlp.up_proj": (HIDDEN, DIM),
    "mlp.down_proj": (DIM, HIDDEN),
}
"""Output and input features of a layer's linears."""


def make_base(folder: Path) -> None:
    """A random base in Hugging Face's format."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: _draw(name, shape, generator).to(torch.bfloat16) for name, shape in _base_shapes()
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "hidden_size": DIM,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "vocab_size": VOCAB,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500_000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": VOCAB - 2,
        "eos_token_id": VOCAB - 1,
    }
    (folder / "config.json").write_text(json.dumps(config))
    _make_tokenizer(folder)


def _base_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (VOCAB, DIM)
    yield "model.norm.weight", (DIM,)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.input_layernorm.weight", (DIM,)
        yield f"{prefix}.post_attention_layernorm.weight", (DIM,)
        for linear, shape in LINEARS.items():
            yield f"{prefix}.{linear}.weight", shape


def _draw(name: str, shape: tuple[int, ...], generator: "torch.Generator") -> "torch.Tensor":
    """Norms around 1, matrices that keep the size of what they multiply; fp32."""
    import torch

    noise = torch.randn(shape, generator=generator)
    return 1 + 0.1 * noise if len(shape) == 1 else noise.div_(shape[1] ** 0.5)


def _make_tokenizer(folder: Path) -> None:
    """A byte-level BPE vocabulary of Llama 3's size: bytes, pairs, and pairs with a byte more."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = list(product(alphabet, alphabet))
    longer = islice(((a + b, c) for a, b in pairs for c in alphabet), VOCAB - 2 - 256 - len(pairs))
    merges = [*pairs, *longer]
    words = [*alphabet, *(a + b for a, b in merges)]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|begin|>"), AddedToken("<|end|>")])
    assert tokenizer.get_vocab_size() == VOCAB
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin|>",
        "eos_token": "<|end|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def make_adapter(folder: Path, seed: int) -> None:
    """A random adapter in PEFT's format."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(LAYERS):
        for linear, (rows, columns) in LINEARS.items():
            prefix = f"base_model.model.model.layers.{layer}.{linear}"
            for matrix, shape in (("A", (RANK, columns)), ("B", (rows, RANK))):
                name = f"{prefix}.lora_{matrix}.weight"
                tensors[name] = 0.1 * _draw(name, shape, generator)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "random/Llama-3.2-1B",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "target_modules": [linear.split(".")[1] for linear in LINEARS],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
