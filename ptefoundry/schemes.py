"""How weights are stored: the spellings of params.yaml as numbers."""

import re
from dataclasses import dataclass

GROUP_MULTIPLE = 32
"""XNNPACK takes 4-bit linears whose groups are a multiple of this."""
_NONE = "none"
_HALF = "fp16"
_EMBEDDING = re.compile(r"([48]),(0|[1-9][0-9]*)")
_LINEAR = re.compile(r"8da4w,([1-9][0-9]*)|8da8w,0")


@dataclass(frozen=True, kw_only=True)
class EmbeddingScheme:
    """Symmetric integer quantization of the embedding table, written `<bits>,<group>`."""

    bits: int
    """4 or 8."""
    group: int
    """Values of a row that share a scale; 0: the whole row."""


@dataclass(frozen=True, kw_only=True)
class LinearScheme:
    """Symmetric integer weights, 8-bit activations per token; written `8da<bits>w,<group>`."""

    bits: int
    """4 or 8."""
    group: int
    """Values of a row that share a scale; 0, which 8 bits have: the whole row."""

    def __str__(self) -> str:
        return f"8da{self.bits}w,{self.group}"


@dataclass(frozen=True)
class HalfScheme:
    """Weights rounded to IEEE half precision, which all is computed from in fp32; `fp16`."""

    def __str__(self) -> str:
        return _HALF


@dataclass(frozen=True, kw_only=True)
class Schemes:
    """What of a model is quantized, and how; None: fp32."""

    embedding: EmbeddingScheme | HalfScheme | None = None
    linear: LinearScheme | HalfScheme | None = None
    """Of all linears of the layers; adapters stay fp32."""
    head: LinearScheme | HalfScheme | None = None
    """Of the output head, whether or not it is tied to the embedding table."""

    @property
    def any(self) -> bool:
        """Whether the model is another one than the original."""
        return self != Schemes()

    @property
    def quantizes_activations(self) -> bool:
        """Whether activations become integers, so that rounding decides more than the last bit."""
        return any(isinstance(scheme, LinearScheme) for scheme in (self.linear, self.head))


def describe_overflow(where: str, largest: float) -> str:
    """The message for weights that half precision does not have."""
    return (
        f"{where}: expected values of at most 65504, the largest that fp16 has, found {largest}; "
        "write none or integers in place of fp16 for backends.xnnpack in params.yaml"
    )


def parse_embedding_scheme(text: str) -> EmbeddingScheme | HalfScheme | None:
    """`fp16`, or what `parse_integer_embedding` reads.

    Raises:
        ValueError: it is no scheme; the message goes on after the word "expected".
    """
    if text == _HALF:
        return HalfScheme()
    try:
        return parse_integer_embedding(text)
    except ValueError as error:
        raise ValueError(f"{_HALF}, {error}") from error


def parse_integer_embedding(text: str) -> EmbeddingScheme | None:
    """`4,32` as numbers; None for `none`.

    Raises:
        ValueError: it is no scheme; the message goes on after the word "expected".
    """
    if text == _NONE:
        return None
    match = _EMBEDDING.fullmatch(text)
    if match is None:
        raise ValueError(
            "none, or <bits>,<group> with 4 or 8 bits and the values that share a scale "
            f"(0: the whole row), for instance 8,0 or 4,32; found {text!r}"
        )
    return EmbeddingScheme(bits=int(match[1]), group=int(match[2]))


def parse_linear_scheme(text: str) -> LinearScheme | HalfScheme | None:
    """`8da4w,32` as numbers, or `fp16`; None for `none`.

    Raises:
        ValueError: it is no scheme; the message goes on after the word "expected".
    """
    if text == _NONE:
        return None
    if text == _HALF:
        return HalfScheme()
    match = _LINEAR.fullmatch(text)
    if match is None or int(match[1] or 0) % GROUP_MULTIPLE:
        raise ValueError(
            "none, fp16, 8da8w,0, or 8da4w,<group> with the values that share a scale, a "
            f"multiple of {GROUP_MULTIPLE}, for instance 8da4w,32; found {text!r}"
        )
    return LinearScheme(bits=4, group=int(match[1])) if match[1] else LinearScheme(bits=8, group=0)
