"""How weights are quantized: the spellings of params.yaml as numbers."""

import re
from dataclasses import dataclass

GROUP_MULTIPLE = 32
"""XNNPACK takes 4-bit linears whose groups are a multiple of this."""
_NONE = "none"
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


@dataclass(frozen=True, kw_only=True)
class Schemes:
    """What of a model is quantized, and how; None: fp32."""

    embedding: EmbeddingScheme | None = None
    linear: LinearScheme | None = None
    """Of all linears of the layers; adapters stay fp32."""
    head: LinearScheme | None = None
    """Of the output head, whether or not it is tied to the embedding table."""

    @property
    def any(self) -> bool:
        """Whether the model is another one than the original."""
        return self != Schemes()


def parse_embedding_scheme(text: str) -> EmbeddingScheme | None:
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


def parse_linear_scheme(text: str) -> LinearScheme | None:
    """`8da4w,32` as numbers; None for `none`.

    Raises:
        ValueError: it is no scheme; the message goes on after the word "expected".
    """
    if text == _NONE:
        return None
    match = _LINEAR.fullmatch(text)
    if match is None or int(match[1] or 0) % GROUP_MULTIPLE:
        raise ValueError(
            "none, 8da8w,0, or 8da4w,<group> with the values that share a scale, a "
            f"multiple of {GROUP_MULTIPLE}, for instance 8da4w,32; found {text!r}"
        )
    return LinearScheme(bits=4, group=int(match[1])) if match[1] else LinearScheme(bits=8, group=0)
