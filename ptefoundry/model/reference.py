"""What transformers and PEFT compute for a base and an adapter, to compare our results with.

The reference reads the files as they were fetched and shares no code with the
conversion, except where transformers cannot read them:

- Meta's `consolidated.*.pth`: the base is rebuilt from the canonical form, names
  and rotary order turned back. Then only what comes after the conversion is checked
  independently.
- GGUF: the scaling of rotary frequencies, which transformers leaves out, is taken
  from the canonical form.
- Adapters with names that PEFT does not load (without its prefix, or torchtune's):
  PEFT gets a renamed copy. torchtune's rows of q and k are permuted for Llama, as
  torchtune itself does when it writes PEFT's format.
"""

import re
import tempfile
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.base.config import LINEARS, ModelConfig, load_config
from ptefoundry.errors import CheckpointError
from ptefoundry.model.gguf_speed import fast_gguf

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_TOGETHER = 8
"""Prompts answered at once; each holds its cache in memory."""

#: Canonical names inside a layer -> transformers'.
_LAYER_NAMES = {
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attention.q_norm_fn": "self_attn.q_norm",
    "attention.k_norm_fn": "self_attn.k_norm",
    **{canonical: name for name, canonical in LINEARS.items()},
}
_OUTER_NAMES = {
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}

_TORCHTUNE_LINEARS = {
    "attn.q_proj": "self_attn.q_proj",
    "attn.k_proj": "self_attn.k_proj",
    "attn.v_proj": "self_attn.v_proj",
    "attn.output_proj": "self_attn.o_proj",
    "mlp.w1": "mlp.gate_proj",
    "mlp.w2": "mlp.down_proj",
    "mlp.w3": "mlp.up_proj",
}


def load_reference(
    base_source: Path, adapter_source: Path | None, canonical: Path
) -> "torch.nn.Module":
    """The fp32 model of a fetched base, with a fetched adapter or none, without network.

    Args:
        base_source: folder with a Hugging Face, GGUF or Meta checkpoint.
        adapter_source: folder of a PEFT adapter.
        canonical: canonical folder of the same base.

    Raises:
        CheckpointError: transformers cannot load the base.
    """
    with _without_noise(), fast_gguf():
        model = _load_base(base_source, canonical)
        if adapter_source is not None:
            model = _add_adapter(model, adapter_source)
    return model.eval().requires_grad_(False)


def reference_logits(model: "torch.nn.Module", token_ids: list[int]) -> "torch.Tensor":
    """Logits of every position; fp32 [len(token_ids), vocab]."""
    import torch

    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor([token_ids]), use_cache=False).logits
    return logits[0].float()


def greedy(
    model: "torch.nn.Module", prompts: Sequence[list[int]], count: int, eos_ids: Collection[int]
) -> list[list[int]]:
    """For each prompt up to `count` most likely tokens after it, ending with one of `eos_ids`."""
    answers: list[list[int]] = []
    for start in range(0, len(prompts), _TOGETHER):
        answers += _greedy_together(model, prompts[start : start + _TOGETHER], count, eos_ids)
    return answers


def _greedy_together(
    model: "torch.nn.Module", prompts: Sequence[list[int]], count: int, eos_ids: Collection[int]
) -> list[list[int]]:
    """Prompts advance together: a step costs little more than one for a single prompt.

    Shorter ones are filled up on the left with tokens that are masked out.
    """
    import torch

    longest = max(map(len, prompts))
    mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts])
    pending = torch.tensor([[0] * (longest - len(ids)) + ids for ids in prompts])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    answers: list[list[int]] = [[] for _ in prompts]
    cache = None
    with torch.no_grad():
        for _ in range(count):
            output = model(
                input_ids=pending,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache, pending = output.past_key_values, output.logits[:, -1].argmax(1, keepdim=True)
            mask = torch.cat([mask, torch.ones_like(pending)], 1)
            positions = positions[:, -1:] + 1
            for answer, token in zip(answers, pending[:, 0].tolist(), strict=True):
                if not (answer and answer[-1] in eos_ids):
                    answer.append(token)
            if all(answer[-1] in eos_ids for answer in answers):
                break
    return answers


def _load_base(source: Path, canonical: Path) -> "PreTrainedModel":
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    settings: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True}
    ggufs = sorted(source.glob("*.gguf"))
    if not any(source.glob("*.safetensors")):
        if ggufs:
            settings |= _gguf_settings(ggufs[0], canonical)
        elif any(source.rglob("consolidated.*.pth")):
            return _rebuild(canonical)
        else:
            expected = "*.safetensors, *.gguf or consolidated.*.pth"
            raise CheckpointError(f"{source}: expected {expected}, found none of them")
    try:
        return AutoModelForCausalLM.from_pretrained(source, **settings)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{source}: transformers cannot load the base: {error}") from error


def _gguf_settings(path: Path, canonical: Path) -> dict[str, Any]:
    """Arguments for a GGUF file: transformers does not read its `rope_freqs` (scaling)."""
    from transformers import AutoConfig

    settings: dict[str, Any] = {"gguf_file": path.name}
    ours = load_config(canonical / "config.json")
    if ours.rope_scaling is not None:
        config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        config.rope_parameters = _rope_parameters(ours)
        settings["config"] = config
    return settings


def _rebuild(canonical: Path) -> "PreTrainedModel":
    """A transformers model from a canonical base."""
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    config = load_config(canonical / "config.json")
    model = AutoModelForCausalLM.from_config(_transformers_config(config))
    tensors = load_file(canonical / "model.safetensors")
    if config.tied_embeddings:
        tensors["output.weight"] = tensors["tok_embeddings.weight"]
    model.load_state_dict(
        {_original_name(name): _original_rows(name, t, config) for name, t in tensors.items()}
    )
    return model


def _transformers_config(config: ModelConfig) -> Any:
    import transformers

    name = config.architecture.removesuffix("ForCausalLM") + "Config"
    return getattr(transformers, name)(
        hidden_size=config.dim,
        intermediate_size=config.hidden_dim,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_kv_heads,
        head_dim=config.head_dim,
        vocab_size=config.vocab_size,
        rms_norm_eps=config.norm_eps,
        rope_parameters=_rope_parameters(config),
        max_position_embeddings=config.max_context,
        tie_word_embeddings=config.tied_embeddings,
        dtype="float32",
    )


def _rope_parameters(config: ModelConfig) -> dict[str, Any]:
    scaling = config.rope_scaling
    if scaling is None:
        return {"rope_type": "default", "rope_theta": config.rope_theta}
    return {
        "rope_type": "llama3",
        "rope_theta": config.rope_theta,
        "factor": scaling.factor,
        "low_freq_factor": scaling.low_freq_factor,
        "high_freq_factor": scaling.high_freq_factor,
        "original_max_position_embeddings": scaling.original_context,
    }


def _original_name(name: str) -> str:
    if name in _OUTER_NAMES:
        return _OUTER_NAMES[name]
    layers, number, rest = name.split(".", 2)
    path, kind = rest.rsplit(".", 1)
    return f"model.{layers}.{number}.{_LAYER_NAMES[path]}.{kind}"


def _original_rows(name: str, tensor: "torch.Tensor", config: ModelConfig) -> "torch.Tensor":
    """The rows of q and k back in half order, other tensors as they are; all fp32."""
    from ptefoundry.rotary import interleaved_to_half

    heads = {
        "attention.wq": config.n_heads,
        "attention.wk": config.n_kv_heads,
        "attention.q_norm_fn": 1,
        "attention.k_norm_fn": 1,
    }
    path = re.sub(r"^layers\.\d+\.|\.\w+$", "", name)
    tensor = tensor.float()
    return interleaved_to_half(tensor, heads[path]) if path in heads else tensor


def _add_adapter(model: "PreTrainedModel", source: Path) -> "torch.nn.Module":
    from peft import PeftModel
    from safetensors.torch import load_file, save_file

    tensors = load_file(source / _WEIGHTS)
    renamed = {_peft_name(name): _peft_rows(name, t, model) for name, t in tensors.items()}
    if renamed.keys() == tensors.keys():
        return PeftModel.from_pretrained(model, str(source))
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        (copy / _CONFIG).write_bytes((source / _CONFIG).read_bytes())
        save_file(renamed, copy / _WEIGHTS)
        return PeftModel.from_pretrained(model, name)


def _peft_name(name: str) -> str:
    """The name under which PEFT looks for a tensor that is named in another spelling."""
    if _is_torchtune(name):
        _layers, number, block, linear, matrix, _weight = name.split(".")
        module = _TORCHTUNE_LINEARS[f"{block}.{linear}"]
        name = f"layers.{number}.{module}.lora_{matrix[-1].upper()}.weight"
    name = name.removeprefix("base_model.model.").removeprefix("model.")
    return f"base_model.model.model.{name}".replace(".default.weight", ".weight")


def _peft_rows(name: str, tensor: "torch.Tensor", model: "PreTrainedModel") -> "torch.Tensor":
    """Rows of q and k in half order, from torchtune's order of the architecture.

    The formula is that of torchtune's `tune_to_peft_adapter_weights`; torchtune's
    Qwen models rotate in half order already.
    """
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    parts = name.split(".")
    is_rotary = _is_torchtune(name) and parts[-2] == "lora_b" and parts[-3] in heads
    if not is_rotary or config.model_type != "llama":
        return tensor
    rank = tensor.shape[-1]
    rows = tensor.view(heads[parts[-3]], -1, 2, rank).transpose(1, 2)
    return rows.reshape(tensor.shape).contiguous()


def _is_torchtune(name: str) -> bool:
    return ".lora_a." in name or ".lora_b." in name


@contextmanager
def _without_noise() -> Iterator[None]:
    """Hide transformers' progress bars and notes; its errors and PEFT's warnings stay."""
    from transformers import modeling_gguf_pytorch_utils as gguf
    from transformers.utils import logging

    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # The loop over GGUF tensors alone does not listen to that switch.
    bar, gguf.tqdm = gguf.tqdm, logging.tqdm
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
            yield
    finally:
        gguf.tqdm = bar
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()
