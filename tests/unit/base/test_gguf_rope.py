import math

import pytest

from ptefoundry.base.checkpoints.gguf_rope import derive_scaling, divisors
from ptefoundry.base.config import RopeScaling
from support.tiny_checkpoints import rope_factors


def scaling(factor: float, low: float, high: float, context: int) -> RopeScaling:
    return RopeScaling(
        factor=factor, low_freq_factor=low, high_freq_factor=high, original_context=context
    )


def as_float32(values: list[float]) -> list[float]:
    import struct

    return list(struct.unpack(f"{len(values)}f", struct.pack(f"{len(values)}f", *values)))


@pytest.mark.parametrize(
    ("head_dim", "theta", "expected"),
    [
        (64, 500000.0, scaling(32.0, 1.0, 4.0, 8192)),  # Llama 3.2 1B
        (128, 500000.0, scaling(32.0, 1.0, 4.0, 8192)),  # Llama 3.2 3B
        (128, 500000.0, scaling(8.0, 1.0, 4.0, 8192)),  # Llama 3.1, 3.3
        (16, 10000.0, scaling(8.0, 1.0, 4.0, 64)),
        (128, 500000.0, scaling(16.0, 1.0, 6.5, 4096)),
        (128, 1000000.0, scaling(2.5, 1.0, 2.0, 32768)),
    ],
)
def test_scaling_is_found_in_its_factors(
    head_dim: int, theta: float, expected: RopeScaling
) -> None:
    rope = {
        "rope_theta": theta,
        "factor": expected.factor,
        "low_freq_factor": expected.low_freq_factor,
        "high_freq_factor": expected.high_freq_factor,
        "original_max_position_embeddings": expected.original_context,
    }
    factors = as_float32(rope_factors(rope, head_dim))
    assert derive_scaling(factors, theta, head_dim) == expected


def test_another_low_factor_gives_an_equal_scaling() -> None:
    given = scaling(8.0, 2.0, 8.0, 16384)
    found = derive_scaling(as_float32(divisors(given, 500000.0, 128)), 500000.0, 128)
    assert found == scaling(8.0, 1.0, 4.0, 8192)


@pytest.mark.parametrize(
    "factors",
    [
        [1.0 + index / 10 for index in range(64)],  # grows evenly: LongRoPE, not Llama-3
        [2.0] * 64,  # linear scaling
        [1.0] * 63 + [math.nan],
        [0.5] * 64,
        [1.0] * 32,
    ],
)
def test_other_factors_are_no_llama3_scaling(factors: list[float]) -> None:
    assert derive_scaling(factors, 500000.0, 128) is None
