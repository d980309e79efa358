"""Tiny random bases and adapters in transformers' and PEFT's own formats.

Every folder is written by the library that a user's folder would come from, so
tests start from real files. All weights are drawn so that each part of the
network shows in the logits: norms differ from one, biases and `lora_B` from zero.

Shapes suit every backend: dim 64, 2 layers, 4 heads over 2 key/value heads,
hidden 128, about 400 tokens. The same arguments give the same tensors.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import PreTrainedConfig, PreTrainedModel

ARCHITECTURES = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")

ALL_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Token ids 0, 1 and 2; `<|im_end|>` ends a turn."""

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

#: Llama 3.2's scaling over a context short enough for tests to go beyond it.
LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

_CORPUS = (
    "The quick brown fox jumps over the lazy dog. The base is built once.",
    "An adapter is a small file that the app downloads when it is needed.",
    "for index in range(1024): print(index, values[index] * 3.14159)",
    "Ünïcödé text, 日本語 and emoji 🙂 are bytes like any other.",
    "the then there these those this that with without within on in at it is",
)


def save_tiny_base(
    folder: Path,
    architecture: str = "LlamaForCausalLM",
    *,
    tied: bool = True,
    seed: int = 0,
    dtype: str = "float32",
    max_shard_size: str | None = None,
    chat_template: str | None = CHATML,
    **config: Any,
) -> None:
    """Write a random base with its tokenizer, as `save_pretrained` does.

    Args:
        folder: where to; made if missing.
        architecture: one of `ARCHITECTURES`.
        tied: whether the output head is the embedding table.
        seed: of the weights.
        dtype: of the stored weights, for instance `bfloat16`.
        max_shard_size: splits the weights into shards with an index, e.g. `"200KB"`.
        chat_template: for tokenizer_config.json; None leaves it out.
        **config: overrides of transformers' configuration, such as
            `rope_parameters={"rope_theta": 10000.0, **LLAMA3_SCALING}`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocab_size = save_tiny_tokenizer(folder, chat_template=chat_template)
    settings = {"vocab_size": vocab_size, "tie_word_embeddings": tied, **config}
    model = random_model(tiny_config(architecture, **settings), seed=seed, dtype=dtype)
    sharding = {} if max_shard_size is None else {"max_shard_size": max_shard_size}
    model.save_pretrained(folder, **sharding)


def save_tiny_adapter(
    base_folder: Path,
    folder: Path,
    *,
    rank: int = 4,
    seed: int = 1,
    targets: tuple[str, ...] = ALL_LINEARS,
    **lora_config: Any,
) -> None:
    """Write a PEFT LoRA adapter of the base in `base_folder`, with random A and B.

    Args:
        base_folder: what `save_tiny_base` wrote.
        folder: where to; made if missing.
        rank: of every target, unless `rank_pattern` says otherwise.
        seed: of the adapter's matrices.
        targets: module names, as PEFT's `target_modules`.
        **lora_config: further fields of `peft.LoraConfig`, such as `lora_alpha`.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    settings = LoraConfig(
        r=rank, target_modules=list(targets), task_type="CAUSAL_LM", **lora_config
    )
    adapted = get_peft_model(model, settings)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data.copy_(noise / parameter.shape[1] ** 0.5)
    adapted.save_pretrained(folder)


def tiny_config(architecture: str, **settings: Any) -> "PreTrainedConfig":
    """transformers' configuration of a tiny model; `settings` override its fields.

    Qwen3 gets heads of 32, wider than dim / heads, as its real models have.
    """
    import transformers

    name = architecture.removesuffix("ForCausalLM")
    fields = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 400,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    if name == "Qwen3":
        fields["head_dim"] = 32
    return getattr(transformers, f"{name}Config")(
        **{**fields, "architectures": [architecture], **settings}
    )


def random_model(
    config: "PreTrainedConfig", *, seed: int = 0, dtype: str = "float32"
) -> "PreTrainedModel":
    """A model whose parameters are all drawn from `seed`, ready to run."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(config).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        parameter.data.copy_(_draw(name, parameter.shape, generator))
    return model.to(getattr(torch, dtype))


def _draw(name: str, shape: "torch.Size", generator: "torch.Generator") -> "torch.Tensor":
    import torch

    noise = torch.randn(shape, generator=generator)
    if "norm" in name:
        return 1 + 0.2 * noise
    if name.endswith("bias"):
        return 0.5 * noise
    return noise / shape[1] ** 0.5


def tiny_tokenizer() -> "Tokenizer":
    """A byte-level BPE tokenizer of about 400 tokens; always the same one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(_CORPUS * 2, trainer)
    return tokenizer


def save_tiny_tokenizer(folder: Path, *, chat_template: str | None = CHATML) -> int:
    """Write tokenizer.json and tokenizer_config.json; returns the vocabulary's size."""
    tokenizer = tiny_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
    }
    if chat_template is not None:
        settings["chat_template"] = chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return int(tokenizer.get_vocab_size())
