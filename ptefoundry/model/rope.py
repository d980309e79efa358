"""Rotary frequencies, with Llama-3's scaling for long contexts.

Source: transformers' `_compute_llama3_parameters` (modeling_rope_utils.py).
"""

import math
from typing import TYPE_CHECKING

from ptefoundry.base.config import ModelConfig, RopeScaling

if TYPE_CHECKING:
    import torch


def inverse_frequencies(config: ModelConfig) -> "torch.Tensor":
    """Radians per position of each rotated pair; fp32 [head_dim / 2]."""
    import torch

    pairs = torch.arange(0, config.head_dim, 2, dtype=torch.int64, device="cpu")
    exponents = pairs.float() / config.head_dim
    frequencies = 1.0 / config.rope_theta**exponents
    if config.rope_scaling is None:
        return frequencies
    return _scaled(frequencies, config.rope_scaling)


def _scaled(frequencies: "torch.Tensor", scaling: RopeScaling) -> "torch.Tensor":
    """Keep short wavelengths, divide long ones by `factor`, blend between."""
    import torch

    wavelengths = 2 * math.pi / frequencies
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    blend = (scaling.original_context / wavelengths - low) / (high - low)
    blended = (1 - blend) * frequencies / scaling.factor + blend * frequencies
    is_long = wavelengths > scaling.original_context / low
    is_short = wavelengths < scaling.original_context / high
    scaled = torch.where(is_long, frequencies / scaling.factor, blended)
    return torch.where(is_short, frequencies, scaled)
