"""Running programs and the eager model alike, for comparisons."""

from pathlib import Path

import torch

from ptefoundry.model.eager import load_model, quiet_operators
from ptefoundry.model.rounding import _perturbed
from ptefoundry.model.transformer import Transformer
from ptefoundry.params import XnnpackParams


def runtime_logits(program: Path, foundation: Path, calls: list[list[int]]) -> torch.Tensor:
    """Logits [calls, vocab] of a program in ExecuTorch's runtime, after each call's tokens."""
    from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401
    from executorch.extension.pybindings.portable_lib import _load_for_executorch
    from executorch.kernels import quantized  # noqa: F401  for embedding tables of integers

    with quiet_operators():
        loaded = _load_for_executorch(str(program), str(foundation))
        rows, position = [], 0
        for tokens in calls:
            inputs = [torch.tensor([tokens]), torch.tensor([position])]
            rows.append(loaded.forward(inputs)[0].clone())
            position += len(tokens)
    return torch.cat(rows)


def eager_logits(
    base: Path, adapter: Path | None, params: XnnpackParams, calls: list[list[int]]
) -> torch.Tensor:
    """The same of the eager model."""
    model = load_model(base, adapter, context=params.context_length, schemes=params.schemes)
    return _logits(model, calls)


def rounding_of(
    base: Path, adapter: Path | None, params: XnnpackParams, calls: list[list[int]]
) -> float:
    """The most that these logits differ when inputs of linears change by a last place.

    Next to nothing, unless an activation is so near a tie that the order of sums, and so the
    processor, decides where it goes.
    """
    model = load_model(base, adapter, context=params.context_length, schemes=params.schemes)
    plain, most = _logits(model, calls), 0.0
    for seed in range(16):
        with _perturbed(model, seed):
            most = max(most, float((_logits(model, calls) - plain).abs().max()))
    return most


def _logits(model: Transformer, calls: list[list[int]]) -> torch.Tensor:
    rows, position = [], 0
    with quiet_operators(), torch.no_grad():
        for tokens in calls:
            rows.append(model(torch.tensor([tokens]), torch.tensor([position])))
            position += len(tokens)
    return torch.cat(rows)
