"""How far what a program says is from what its model would say, with the same weights in fp32.

fp16 rounds logits, so that of two tokens that are about as likely another one may be said.
Each token is held against the model's logits at its place.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ptefoundry.coreml.driver import StaticDriver
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.coreml.program import prepare_model
from ptefoundry.model.parity import TOLERANCE

if TYPE_CHECKING:
    import torch

GAPS = {"fp32": 2 * TOLERANCE, "fp16": 0.5}
"""By type of the program's activations: how much less than the largest the exact logit of a
token may be that the program takes for the likeliest. Twice the error of a logit, which
in fp16 (11 bits) is about a hundredth of logits of some 20."""


def token_gaps(
    driver: StaticDriver, prompt: Sequence[int], read: Sequence[int], said: Sequence[int]
) -> list[float]:
    """For each token that is said the distance of its logit from the largest.

    Args:
        driver: of the exact model, with empty caches.
        prompt: what is read first.
        read: after each place, the token that is read there.
        said: at each place, the token that is looked at.
    """
    gaps, pending = [], list(prompt)
    for token, one in zip(read, said, strict=True):
        logits = driver.read(pending)
        gaps.append(float(logits.max() - logits[one]))
        pending = [token]
    return gaps


def prepare_plain(base: Path, params: CoremlParams) -> "torch.nn.Module":
    """The static model with the weights of the program, none of them as integers.

    Quantized and rounded as in the program, then multiplied out in the program's dtype, as
    Core ML does; `.float()` makes it exact.

    Raises:
        ConfigError: the options do not fit the base.
        CheckpointError: static attention does not support the base.
    """
    import torch

    model = prepare_model(base, params)
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if type(weight.data) is not torch.Tensor:
                plain = torch.nn.Parameter(weight.dequantize(), requires_grad=False)
                setattr(module, name, plain)
    return model
