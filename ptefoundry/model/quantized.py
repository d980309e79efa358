"""The reference answers of a quantized variant: those of the same quantized model in PyTorch.

Quantization changes what a model says, and how much is the user's choice; that
the program computes the quantized model is ours to prove. So its smoke run is
compared with the eager quantized model, on the prompts of the original's
reference, and how far the two models are apart is kept beside it. Where activations
are quantized, so is how far rounding alone moves the model.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ptefoundry.files import assembled_folder, write_json
from ptefoundry.model.parity import (
    LOGITS_FILE,
    REFERENCE_FILE,
    Answer,
    Quantization,
    Reference,
    load_answers,
)
from ptefoundry.params import XnnpackParams

if TYPE_CHECKING:
    import torch

    from ptefoundry.model.transformer import Transformer


def make_quantized_reference(
    base: Path,
    adapter: Path | None,
    original: Path,
    *,
    params: XnnpackParams,
    tokens: int,
    into: Path,
) -> None:
    """Answer the smoke prompts with the eager quantized model.

    Args:
        base: canonical base.
        adapter: canonical adapter, or None for the base alone.
        original: reference folder of the same variant that `make_reference` wrote.
        params: how to quantize.
        tokens: how many tokens to answer at most.
        into: folder to write, of the same form as `original`.

    Raises:
        ConfigError: the base cannot be quantized so.
        ArtifactError: `original` cannot be read.
    """
    from safetensors.torch import load_file, save_file

    from ptefoundry.model.eager import load_model, quiet_operators

    before = load_answers(original)
    eos_ids = json.loads((base / "tokenizer" / "chat.json").read_text())["eos_token_ids"]
    context = max(len(answer.prompt_tokens) for answer in before.answers) + tokens
    model = load_model(base, adapter, context=context, schemes=params.schemes)
    if params.schemes.linear or params.schemes.head:
        from ptefoundry.model.linear import hold_weights

        hold_weights(model)
    with quiet_operators():
        results = [_answer(model, answer, tokens, eos_ids) for answer in before.answers]
        answers = [answer for answer, _ in results]
        rounding = None
        if params.schemes.quantizes_activations:
            from ptefoundry.model.rounding import measure_rounding

            rounding, answers = measure_rounding(model, answers)
    logits = {str(index): row for index, (_, row) in enumerate(results)}
    unquantized = load_file(original / LOGITS_FILE)
    quantization = Quantization(
        logits=max(float((logits[key] - unquantized[key]).abs().max()) for key in logits),
        equal_tokens=sum(map(_equal_tokens, answers, before.answers)),
        tokens=sum(len(answer.tokens) for answer in before.answers),
    )
    result = Reference(
        answers=answers,
        conversion_difference=before.conversion_difference,
        quantization=quantization,
        rounding=rounding,
    )
    with assembled_folder(into) as folder:
        save_file(logits, folder / LOGITS_FILE)
        write_json(folder / REFERENCE_FILE, asdict(result))


def _answer(
    model: "Transformer", original: Answer, count: int, eos_ids: list[int]
) -> tuple[Answer, "torch.Tensor"]:
    """The model's own answer, and its fp32 logits [vocab] after the prompt."""
    import torch

    pending, position, generated = original.prompt_tokens, 0, list[int]()
    first: torch.Tensor | None = None
    with torch.no_grad():
        while len(generated) < count and not (generated and generated[-1] in eos_ids):
            logits = model(torch.tensor([pending]), torch.tensor([position]))[0]
            first = logits.clone() if first is None else first
            position += len(pending)
            pending = [int(logits.argmax())]
            generated += pending
    assert first is not None
    answer = Answer(prompt=original.prompt, prompt_tokens=original.prompt_tokens, tokens=generated)
    return answer, first


def _equal_tokens(ours: Answer, theirs: Answer) -> int:
    """Length of the common beginning of two answers."""
    pairs = zip(ours.tokens, theirs.tokens, strict=False)
    return next(
        (index for index, (a, b) in enumerate(pairs) if a != b),
        min(len(ours.tokens), len(theirs.tokens)),
    )
