"""The reference answers of a variant, and the proof that the conversion is right.

transformers and PEFT run the files as they were fetched; the canonical model
runs what was converted from them. Their logits must agree within `TOLERANCE`
before anything is compiled for a device. What transformers and PEFT answer is
kept for the smoke run of each backend.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.errors import ArtifactError, VerificationError
from ptefoundry.files import assembled_folder, write_json
from ptefoundry.params import SmokeParams

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-3
"""Largest difference of two fp32 logits that rounding explains."""
REFERENCE_FILE = "reference.json"
LOGITS_FILE = "logits.safetensors"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the original model makes of one prompt."""

    prompt: str
    prompt_tokens: list[int]
    """The prompt in the chat template, as token ids."""
    tokens: list[int]
    """Greedy continuation; ends with an end-of-answer token if one came up."""
    near: list[list[int]] = field(default_factory=list)
    """For each of these tokens those that rounding may put in its place, where that was
    measured; else empty."""


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """What the rounding of fp32 sums changes in a model whose activations are quantized."""

    logits: float
    """Root mean square of the change of a logit."""
    margin: float
    """The same of the distance between the two best logits."""


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How far a quantized model is from its original, both in PyTorch."""

    logits: float
    """Largest difference of the logits after a prompt."""
    equal_tokens: int
    """Greedy tokens up to the first other one, over all prompts."""
    tokens: int
    """Greedy tokens of the original, over all prompts."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a program must answer."""

    answers: list[Answer]
    conversion_difference: float
    """Largest difference between the logits of the original and the canonical model."""
    quantization: Quantization | None = None
    """Set where the answers are those of the quantized model."""
    rounding: Rounding | None = None
    """Set where activations are quantized."""


def make_reference(
    base_source: Path,
    base: Path,
    adapter_source: Path | None,
    adapter: Path | None,
    *,
    smoke: SmokeParams,
    into: Path,
) -> None:
    """Answer the smoke prompts with the originals, and compare the canonical model.

    Args:
        base_source: base as fetched.
        base: canonical base.
        adapter_source: adapter as fetched, or None for the base alone.
        adapter: canonical adapter, or None.
        smoke: prompts and how many tokens to answer.
        into: folder for `reference.json` and `logits.safetensors` (fp32 [vocab]
            for each prompt, under its index).

    Raises:
        VerificationError: the logits differ by more than `TOLERANCE`.
    """
    from safetensors.torch import save_file

    from ptefoundry.model.reference import greedy, load_reference, reference_logits

    chat = json.loads((base / "tokenizer" / "chat.json").read_text())
    original = load_reference(base_source, adapter_source, base)
    prompts = [encode_prompt(base / "tokenizer", chat, prompt) for prompt in smoke.prompts]
    logits = [reference_logits(original, tokens) for tokens in prompts]
    continuations = greedy(original, prompts, smoke.tokens, chat["eos_token_ids"])
    answers = [
        Answer(prompt=prompt, prompt_tokens=tokens, tokens=continuation)
        for prompt, tokens, continuation in zip(smoke.prompts, prompts, continuations, strict=True)
    ]
    del original
    difference = _conversion_difference(base, adapter, answers, logits)
    if not difference <= TOLERANCE:
        raise VerificationError(
            f"{adapter or base}: expected the logits of {adapter_source or base_source} within "
            f"{TOLERANCE}, found a difference of {difference:.2e}; the conversion is wrong, please "
            "report it with the model's config.json and adapter_config.json"
        )
    last = {str(index): rows[-1].clone() for index, rows in enumerate(logits)}
    result = Reference(answers=answers, conversion_difference=difference)
    with assembled_folder(into) as folder:
        save_file(last, folder / LOGITS_FILE)
        write_json(folder / REFERENCE_FILE, asdict(result))


def load_answers(folder: Path) -> Reference:
    """Read a reference that `make_reference` or `make_quantized_reference` wrote.

    Raises:
        ArtifactError: it is missing or malformed.
    """
    path = folder / REFERENCE_FILE
    try:
        fields = json.loads(path.read_text())
        answers = [Answer(**answer) for answer in fields["answers"]]
        quantization, rounding = fields["quantization"], fields["rounding"]
        return Reference(
            answers=answers,
            conversion_difference=fields["conversion_difference"],
            quantization=Quantization(**quantization) if quantization else None,
            rounding=Rounding(**rounding) if rounding else None,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path}: expected a reference ({error!r}); run `ptefoundry build` again"
        ) from error


def encode_prompt(tokenizer: Path, chat: dict[str, Any], prompt: str) -> list[int]:
    """Token ids of a first user message in the chat template, or of the bare prompt."""
    from tokenizers import Tokenizer

    model = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    pieces = chat["first"]
    if pieces is None:
        return list(model.encode(prompt).ids)
    user = prompt.strip() if chat["trim_user"] else prompt
    text = pieces["prefix"] + user + pieces["suffix"]
    return list(model.encode(text, add_special_tokens=False).ids)


def _conversion_difference(
    base: Path, adapter: Path | None, answers: list[Answer], expected: list["torch.Tensor"]
) -> float:
    """Largest absolute difference of logits over all positions of all prompts."""
    import torch

    from ptefoundry.model.eager import load_model, quiet_operators

    longest = max(len(answer.prompt_tokens) for answer in answers)
    model = load_model(base, adapter, context=longest, all_logits=True)
    start = torch.zeros(1, dtype=torch.int64)
    worst = 0.0
    with torch.no_grad(), quiet_operators():
        for answer, logits in zip(answers, expected, strict=True):
            found = model(torch.tensor([answer.prompt_tokens]), start)
            # A NaN would compare false with everything, so it is made the worst of all.
            worst = max(worst, float((found - logits).abs().nan_to_num(nan=torch.inf).max()))
    return worst
