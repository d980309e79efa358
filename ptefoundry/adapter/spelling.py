"""How adapters spell the names of their matrices, and in which row order that puts them.

PEFT's spelling, with transformers' module names, has the rows of q and k in
*half* rotary order, as transformers' bases have. The prefixes `base_model.model.`
and `model.` and the adapter name `.default` may be missing or present: PEFT writes
the first form, other tools the others.

torchtune's own spelling (`layers.0.attn.q_proj.lora_a.weight`) belongs to a base
in torchtune's order: interleaved for Llama, half for Qwen (its `hf_to_tune` permutes,
its `qwen2_hf_to_tune` does not). What torchtune writes as
`adapter_model.safetensors` is permuted back and spelled as PEFT does.

Meta's spelling (`layers.0.attention.wq.lora_a.weight`) is refused: ExecuTorch's
converter renames PEFT's matrices to it without permuting, so that it does not tell
the order.
"""

import re
from dataclasses import dataclass
from typing import Literal

Spelling = Literal["peft", "torchtune"]
Matrix = Literal["a", "b"]

_PEFT = re.compile(
    r"(?:base_model\.model\.)?(?:model\.)?layers\.(?P<layer>0|[1-9][0-9]*)\."
    r"(?P<linear>self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)"
    r"\.lora_(?P<matrix>[AB])(?:\.default)?\.weight"
)
_TORCHTUNE = re.compile(
    r"layers\.(?P<layer>0|[1-9][0-9]*)\."
    r"(?P<linear>attn\.(?:q|k|v|output)_proj|mlp\.w[123])"
    r"\.lora_(?P<matrix>[ab])\.weight"
)
_FROM_TORCHTUNE = {
    "attn.q_proj": "self_attn.q_proj",
    "attn.k_proj": "self_attn.k_proj",
    "attn.v_proj": "self_attn.v_proj",
    "attn.output_proj": "self_attn.o_proj",
    "mlp.w1": "mlp.gate_proj",
    "mlp.w2": "mlp.down_proj",
    "mlp.w3": "mlp.up_proj",
}

#: What tensors that are no matrices of a decoder's linear are; the first that matches.
_REFUSED = (
    (r"magnitude", "a magnitude vector of DoRA"),
    (r"trainable_tokens|token_adapter", "trained rows of the embedding (trainable_token_indices)"),
    (r"lora_embedding|embed_tokens|tok_embeddings", "a part of the embedding"),
    (r"lm_head|^output\.", "a part of the output head"),
    (r"lora_[ABab](\..*)?\.bias$", "a bias of lora_B (lora_bias)"),
    (r"\.bias$", "a trained bias"),
    (r"attention\.w[qkvo]|feed_forward\.w[123]", "in Meta's spelling, which tells no row order"),
    (r"lora_|adaptor", "a LoRA matrix of a module that no supported base has"),
    (r"", "not a LoRA matrix"),
)


@dataclass(frozen=True)
class MatrixName:
    """What the name of a tensor says."""

    module: str
    """transformers' name, for instance `model.layers.0.self_attn.q_proj`."""
    matrix: Matrix
    spelling: Spelling


def parse_name(name: str) -> MatrixName | None:
    """Understand a tensor's name; None if it is no matrix of a decoder's linear."""
    if match := _PEFT.fullmatch(name):
        spelling: Spelling = "peft"
        linear = match["linear"]
    elif match := _TORCHTUNE.fullmatch(name):
        spelling = "torchtune"
        linear = _FROM_TORCHTUNE[match["linear"]]
    else:
        return None
    module = f"model.layers.{match['layer']}.{linear}"
    return MatrixName(module, "a" if match["matrix"] in "Aa" else "b", spelling)


def explain_name(name: str) -> str:
    """What a tensor is that `parse_name` does not understand."""
    return next(text for pattern, text in _REFUSED if re.search(pattern, name))


def has_half_order(spelling: Spelling, architecture: str) -> bool:
    """Whether rows of q and k are in transformers' order rather than interleaved."""
    return spelling == "peft" or architecture != "LlamaForCausalLM"
