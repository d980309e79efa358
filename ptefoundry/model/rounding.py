"""How far the rounding of fp32 sums moves a model whose activations are quantized.

An activation that lies between two integers goes to one or the other by the last
bit of the sums before it, and each that goes the other way pushes more of them in
the layers behind. Two correct implementations of a large model therefore differ by
a part of what quantization itself changes (docs/adr/0009). How much is measured on
the model and the answers in question: the same model computes them again with the
inputs of its quantized linears changed by about one unit in the last place.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from ptefoundry.model.linear import QuantizedLinear
from ptefoundry.model.parity import Answer, Rounding
from ptefoundry.model.transformer import Transformer

REPEATS = 4
_RELATIVE = 2.0**-22
"""Two units in the last place of fp32 at most, the error of a short sum."""
NEAR_MARGINS = 5.0
"""A token counts as chosen by rounding within this many root mean squares of a margin."""


def measure_rounding(model: Transformer, answers: list[Answer]) -> tuple[Rounding, list[Answer]]:
    """Measure it on answers of the model, token by token along each of them.

    Returns:
        What rounding changes, and the answers with `near` filled in.
    """
    plain = [_logits(model, answer) for answer in answers]
    changes, margins = [], []
    for seed in range(REPEATS):
        with _perturbed(model, seed):
            for answer, rows in zip(answers, plain, strict=True):
                found = _logits(model, answer)
                best = rows.topk(2).indices
                margin = rows.gather(1, best) - found.gather(1, best)  # [tokens, 2]
                changes.append((found - rows).square().mean(1))
                margins.append((margin[:, 0] - margin[:, 1]).square())
    rounding = Rounding(logits=_root_mean(changes), margin=_root_mean(margins))
    reach = NEAR_MARGINS * rounding.margin
    return rounding, [
        replace(answer, near=_near(rows, reach))
        for answer, rows in zip(answers, plain, strict=True)
    ]


def _logits(model: Transformer, answer: Answer) -> torch.Tensor:
    """fp32 [tokens, vocab]: what the model would say in place of each token of the answer."""
    *before, last = answer.prompt_tokens
    with torch.no_grad():
        if before:
            model(torch.tensor([before]), torch.tensor([0]))
        model.all_logits = True
        try:
            return model(torch.tensor([[last, *answer.tokens[:-1]]]), torch.tensor([len(before)]))
        finally:
            model.all_logits = False


def _near(rows: torch.Tensor, reach: float) -> list[list[int]]:
    """Tokens whose logit is within reach of the best, for each row."""
    least = rows.max(1, keepdim=True).values - reach
    return [row.nonzero().flatten().tolist() for row in rows >= least]


def _root_mean(squares: list[torch.Tensor]) -> float:
    return float(torch.cat(squares).mean().sqrt())


@contextmanager
def _perturbed(model: nn.Module, seed: int) -> Iterator[None]:
    generator = torch.Generator().manual_seed(seed)

    def perturb(_module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        noise = 2 * torch.rand(inputs[0].shape, generator=generator) - 1
        return (inputs[0] * (1 + _RELATIVE * noise),)

    linears = (module for module in model.modules() if isinstance(module, QuantizedLinear))
    hooks = [linear.register_forward_pre_hook(perturb) for linear in linears]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
