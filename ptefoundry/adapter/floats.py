"""Properties of little-endian floating-point numbers, read from their bytes.

Weights are checked before torch is imported, so the exponent is looked at in
place: a number is NaN or infinite exactly if all bits of its exponent are set.
"""

DTYPES = frozenset({"F32", "F16", "BF16"})
"""safetensors' names of the types that adapters may have."""

#: Last bytes (sign and upper exponent bits) of fp32 and bf16 numbers from 2**127 up.
_HUGE = (0x7F, 0xFF)
#: Last bytes of fp16 numbers that are not finite: the whole exponent is in that byte.
_FP16_NOT_FINITE = tuple(sign | 0x7C | upper for sign in (0x00, 0x80) for upper in range(4))


def is_finite(data: bytes, dtype: str) -> bool:
    """Whether no number is NaN or infinite; True for types that are not in `DTYPES`."""
    if dtype == "F16":
        last = data[1::2]
        return not any(byte in last for byte in _FP16_NOT_FINITE)
    if dtype not in DTYPES:
        return True
    size = 4 if dtype == "F32" else 2
    last, before = data[size - 1 :: size], data[size - 2 :: size]
    # Weights of that size are rare even in broken files, so the slow test seldom runs.
    if not any(byte in last for byte in _HUGE):
        return True
    return not any(
        upper in _HUGE and lower >= 0x80 for upper, lower in zip(last, before, strict=True)
    )


def first_not_finite(data: bytes, dtype: str) -> int:
    """Number of the first element that is NaN or infinite; there must be one."""
    size = 4 if dtype == "F32" else 2
    begin, end = 0, len(data) // size
    while end - begin > 1:
        middle = (begin + end) // 2
        if is_finite(data[begin * size : middle * size], dtype):
            begin = middle
        else:
            end = middle
    return begin


def is_zero(data: bytes) -> bool:
    """Whether every number is zero; negative zeros count as other numbers."""
    return data.count(0) == len(data)
