"""`backends.coreml` of params.yaml."""

from typing import Literal

from pydantic.dataclasses import dataclass

from ptefoundry.schemes import EmbeddingScheme, parse_integer_embedding
from ptefoundry.typed_yaml import STRICT

BLOCK = 32
"""Values of a row that share a scale in `b4w`."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CoremlParams:
    """`backends.coreml`: options of the program for Apple's devices."""

    context_length: int = 1024
    """Tokens of prompt and answer together."""
    input_length: int = 32
    """Tokens that one call reads: of `prefill`, or of every call without `multifunction`."""
    dtype: Literal["fp16", "fp32"] = "fp16"
    """Type of activations, caches, adapters and what is not quantized; the Neural Engine
    takes fp16 only."""
    embedding: str = "none"
    """Quantization of the embedding table: none, or `<bits>,<group>` such as `8,0` and `4,32`."""
    linear: Literal["none", "b4w", "c4w"] = "none"
    """4-bit weights of all linears and the output head, with one scale for 32 values (b4w) or
    for a row (c4w). The Neural Engine takes c4w. Matrices of adapters are never quantized."""
    split_size: int | None = 1024
    """About how many rows the pieces have that larger linears are cut into; None: not cut."""
    max_splits: int = 8
    """Most pieces of one linear."""
    graph_breaks: bool = True
    """Whether embedding, layers and head are three models rather than one; a tied table that is
    not quantized is then stored in two of them."""
    compute_units: Literal["all", "cpu_only", "cpu_and_gpu", "cpu_and_ne"] = "cpu_and_ne"
    """Where a device may run it."""
    deployment_target: Literal["iOS18", "iOS26"] = "iOS18"
    """Oldest system that loads it; macOS 15 and 26 are of the same age."""
    multifunction: bool = True
    """Whether each variant has a method for one token and one for many, with logits of the
    last token alone; else it has one method, with logits of all `input_length` tokens."""

    @property
    def embedding_scheme(self) -> EmbeddingScheme | None:
        """`embedding` as numbers."""
        return parse_integer_embedding(self.embedding)

    @property
    def cache_length(self) -> int:
        """Tokens that the caches hold; all methods have the same, so that they share them.

        A call sees its own tokens beside them, and the last one may have only one.
        """
        return self.context_length - 1

    def find_problem(self) -> tuple[str, str] | None:
        """The first field that has an impossible value, and what was expected of it."""
        if self.context_length < 3:
            return "context_length", f"at least 3 tokens, found {self.context_length}"
        if not 2 <= self.input_length < self.context_length:
            room = f"less than the context_length of {self.context_length}"
            return "input_length", f"2 to {room}, found {self.input_length}"
        if self.split_size is not None and self.split_size < 1:
            return "split_size", f"at least 1, or null for no splitting, found {self.split_size}"
        if self.max_splits < 1:
            return "max_splits", f"at least 1, found {self.max_splits}"
        try:
            parse_integer_embedding(self.embedding)
        except ValueError as error:
            return "embedding", str(error)
        return None
