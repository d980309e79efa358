"""Pack question-answer pairs into one sequence that shares the system prompt.

Every training example starts with the same system message. A packed row holds
that message once, followed by the examples side by side:

    [system][question 1, answer 1][question 2, answer 2] ...

Positions restart after the system message and the attention mask hides the
examples from each other, so each is computed as if it stood alone, without
repeating the system message and without padding.
"""

from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from base_model import END_OF_TURN, render_prompt
from questions import TrainingPair


@dataclass(frozen=True)
class EncodedPair:
    """Token ids of one pair; the system message is not among them."""

    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True)
class PackedRow:
    """Model inputs for several examples, and what to learn from them."""

    input_ids: torch.Tensor  # 1 x length
    position_ids: torch.Tensor  # 1 x length
    attention_mask: torch.Tensor  # 1 x 1 x length x length, True = visible
    predicting: torch.Tensor  # indices whose next token is in an answer
    targets: torch.Tensor  # those next tokens


def encode_system_message(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Encode what the chat template puts before every first question."""
    return _encode(tokenizer, _system_text(tokenizer))


def encode_pair(tokenizer: PreTrainedTokenizerFast, pair: TrainingPair) -> EncodedPair:
    """Encode one pair without the system message.

    Args:
        tokenizer: The tokenizer with the chat template.
        pair: The pair to encode.

    Returns:
        The ids of the question's turn and of the answer with its end mark.
    """
    prompt = render_prompt(tokenizer, pair.question)
    turn = prompt.removeprefix(_system_text(tokenizer))
    return EncodedPair(
        prompt=_encode(tokenizer, turn),
        answer=_encode(tokenizer, pair.answer + END_OF_TURN),
    )


def pack(system: list[int], pairs: list[EncodedPair]) -> PackedRow:
    """Lay several examples out behind one system message.

    Args:
        system: The ids of the system message.
        pairs: The examples of this row.

    Returns:
        The inputs of one forward pass; the loss covers answer tokens only.
    """
    ids = list(system)
    positions = list(range(len(system)))
    owners = [0] * len(system)  # 0 = system message, n = nth example
    predicting: list[int] = []
    for owner, pair in enumerate(pairs, start=1):
        tokens = pair.prompt + pair.answer
        first_answer = len(ids) + len(pair.prompt)
        predicting += range(first_answer - 1, len(ids) + len(tokens) - 1)
        positions += range(len(system), len(system) + len(tokens))
        owners += [owner] * len(tokens)
        ids += tokens
    predicting_ids = torch.tensor(predicting)
    return PackedRow(
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        attention_mask=_visibility(torch.tensor(owners)),
        predicting=predicting_ids,
        targets=torch.tensor(ids)[predicting_ids + 1],
    )


def _visibility(owners: torch.Tensor) -> torch.Tensor:
    """Let a token see the system message and its own example's past."""
    same_example = owners[:, None] == owners[None, :]
    system = (owners == 0)[None, :]
    return ((same_example | system).tril())[None, None]


def _system_text(tokenizer: PreTrainedTokenizerFast) -> str:
    """Render the template's system turn, up to and with its newline."""
    prompt = render_prompt(tokenizer, "")
    return prompt[: prompt.index("<|im_start|>user")]


def _encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Encode rendered text, whose special tokens are already in it."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids
