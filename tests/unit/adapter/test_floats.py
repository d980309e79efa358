import math
import struct

import pytest

from ptefoundry.adapter.floats import first_not_finite, is_finite, is_zero


def every_fp16():
    return [struct.pack("<H", bits) for bits in range(1 << 16)]


def test_fp16_agrees_with_python_for_every_number():
    for data in every_fp16():
        assert is_finite(data, "F16") == math.isfinite(struct.unpack("<e", data)[0])


def test_bf16_agrees_with_python_for_every_number():
    # A bf16 number is the upper half of an fp32 number.
    for data in every_fp16():
        assert is_finite(data, "BF16") == math.isfinite(struct.unpack("<f", b"\0\0" + data)[0])


@pytest.mark.parametrize("lower", [b"\0\0", b"\1\0", b"\xff\xff", b"\x7f\x80"])
def test_fp32_agrees_with_python_for_every_upper_half(lower):
    for upper in every_fp16():
        data = lower + upper
        assert is_finite(data, "F32") == math.isfinite(struct.unpack("<f", data)[0])


@pytest.mark.parametrize(
    ("dtype", "code", "numbers"),
    [("F32", "f", [1.0, -3e38, 1e-45]), ("F16", "e", [1.0, -65504.0, 6e-8])],
)
def test_one_bad_number_is_found_anywhere(dtype, code, numbers):
    good = [struct.pack(f"<{code}", number) for number in numbers]
    assert is_finite(b"".join(good), dtype)
    for position in range(len(good)):
        for bad in (math.nan, math.inf, -math.inf):
            data = [*good]
            data[position] = struct.pack(f"<{code}", bad)
            assert not is_finite(b"".join(data), dtype)
            assert first_not_finite(b"".join(data), dtype) == position
            assert first_not_finite(b"".join([*data, data[position]]), dtype) == position


def test_bytes_of_neighbours_are_not_mistaken_for_one_number():
    # 0x7f80 across the border of two bf16 numbers is not an infinity.
    assert is_finite(bytes([0x00, 0x80, 0x7F, 0x00]), "BF16")


def test_zero():
    assert is_zero(bytes(12))
    assert is_zero(b"")
    assert not is_zero(bytes(11) + b"\1")
