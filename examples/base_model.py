"""Load the base model of the example adapters and render its prompts.

The base is SmolLM2-135M-Instruct as one GGUF file. transformers turns the
quantized weights back into float32, so no model hub is needed:

    model = load_model(Path("SmolLM2-135M-Instruct.Q4_1.gguf"))
    tokenizer = load_tokenizer(Path("SmolLM2-135M-Instruct.Q4_1.gguf"))
"""

from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

BASE_MODEL_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
END_OF_TURN = "<|im_end|>"


def load_model(gguf: Path) -> PreTrainedModel:
    """Load the base weights in float32.

    Args:
        gguf: The GGUF file of the base model.

    Returns:
        The model in evaluation mode, on the CPU.
    """
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.float32,
        attn_implementation="sdpa",
    )
    return model.eval()


def load_tokenizer(gguf: Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer and the chat template that the GGUF file carries.

    The pre-tokenizer is set here because a GGUF file names it ("smollm")
    without describing it: SmolLM2 splits every digit off before its byte-level
    rule.

    Args:
        gguf: The GGUF file of the base model.

    Returns:
        The tokenizer, padding on the left as generation needs it.
    """
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    tokenizer.padding_side = "left"
    return tokenizer


def render_prompt(tokenizer: PreTrainedTokenizerFast, question: str) -> str:
    """Render one question as the chat template does, ready for the answer.

    Args:
        tokenizer: The tokenizer with the chat template.
        question: What the user asks.

    Returns:
        The prompt text, with the template's own system message.
    """
    prompt: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        tokenize=False,
        add_generation_prompt=True,
    )
    return prompt
