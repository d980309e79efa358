"""Llama-3's rope scaling out of the factors that a GGUF file has instead of it.

llama.cpp's converter does not store the scaling's parameters but, as
`rope_freqs.weight` [head_dim/2], the divisor of each rotary frequency
(`generate_extra_tensors` in its convert_hf_to_gguf.py). With s the smooth factor
(context / wavelength - low) / (high - low), a divisor is 1 where s >= 1, `factor`
where s <= 0 and 1 / ((1 - s) / factor + s) between. s is linear in the frequency,
so two divisors of the middle give its line. A common multiple of context, low and
high changes nothing: low is taken as 1, as in every Llama.
"""

import math
from collections.abc import Sequence

from ptefoundry.base.config import RopeScaling

_TOLERANCE = 1e-5
"""Relative; the stored factors are float32."""


def frequencies(theta: float, head_dim: int) -> list[float]:
    """Unscaled rotary frequencies, in radians per token."""
    return [theta ** (-2 * index / head_dim) for index in range(head_dim // 2)]


def divisors(scaling: RopeScaling, theta: float, head_dim: int) -> list[float]:
    """What Llama-3's scaling divides each rotary frequency by."""
    result = []
    for frequency in frequencies(theta, head_dim):
        turns = scaling.original_context * frequency / (2 * math.pi)
        span = scaling.high_freq_factor - scaling.low_freq_factor
        smooth = min(1.0, max(0.0, (turns - scaling.low_freq_factor) / span))
        result.append(1 / ((1 - smooth) / scaling.factor + smooth))
    return result


def derive_scaling(factors: Sequence[float], theta: float, head_dim: int) -> RopeScaling | None:
    """The scaling that gives `factors`; None if no Llama-3 scaling does.

    Args:
        factors: the divisors, one per pair of rotated elements.
        theta: the base frequency.
        head_dim: rotated elements of a head.
    """
    if len(factors) != head_dim // 2 or not all(map(math.isfinite, factors)):
        return None
    factor = _round(max(factors), 6)
    if min(factors) <= 0 or factor <= 1:
        return None
    for scaling in (_llama3(factor), _fit(factors, factor, theta, head_dim)):
        if scaling and _close(divisors(scaling, theta, head_dim), factors):
            return scaling
    return None


def _llama3(factor: float) -> RopeScaling:
    """Every Llama from 3.1 on; their `factor` is 8 or 32."""
    return RopeScaling(
        factor=factor, low_freq_factor=1.0, high_freq_factor=4.0, original_context=8192
    )


def _fit(
    factors: Sequence[float], factor: float, theta: float, head_dim: int
) -> RopeScaling | None:
    """Put the line of s through its outermost two points between 0 and 1."""
    points = [
        (frequency, (1 / divisor - 1 / factor) / (1 - 1 / factor))
        for frequency, divisor in zip(frequencies(theta, head_dim), factors, strict=True)
        if 1 + _TOLERANCE < divisor < factor * (1 - _TOLERANCE)
    ]
    if len(points) < 2:
        return None
    (x0, y0), (x1, y1) = points[0], points[-1]
    slope = (y1 - y0) / (x1 - x0)
    intercept = y0 - slope * x0  # is -low / (high - low), with low = 1
    if slope <= 0 or intercept >= 0:
        return None
    span = -1 / intercept
    return RopeScaling(
        factor=factor,
        low_freq_factor=1.0,
        high_freq_factor=_round(1 + span, 4),
        original_context=round(slope * 2 * math.pi * span),
    )


def _round(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _close(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(math.isclose(a, b, rel_tol=_TOLERANCE) for a, b in pairs)
