"""What a foundation stores of a base, and in which form: a build's account of its quantization."""

import re
from collections import defaultdict
from dataclasses import dataclass

from ptefoundry.lowering.foundation import Foundation, FoundationTensor

_LINEAR = re.compile(r"layers\.\d+\.(attention|feed_forward)\.w\w\.(weight|scales)")


@dataclass(frozen=True, kw_only=True)
class StoredWeights:
    """Tensors of one purpose that are stored alike."""

    what: str
    form: str
    """`fp32`, or the scheme as in params.yaml."""
    tensors: int
    """With scales as tensors of their own; equal ones are stored, and count, once."""
    bytes: int


def list_weights(foundation: Foundation) -> list[StoredWeights]:
    """Everything that a foundation stores, the largest first."""
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for tensor in foundation.tensors:
        found[_purpose(tensor), _form(tensor)][tensor.sha256] = tensor.size
    weights = [
        StoredWeights(what=what, form=form, tensors=len(sizes), bytes=sum(sizes.values()))
        for (what, form), sizes in found.items()
    ]
    return sorted(weights, key=lambda one: (-one.bytes, one.what, one.form))


def _purpose(tensor: FoundationTensor) -> str:
    if tensor.slot.startswith("tok_embeddings."):
        return "embedding table"
    if tensor.slot.startswith("output."):
        return "output head"
    if _LINEAR.fullmatch(tensor.slot):
        return "linears"
    return "norms, biases, constants"


def _form(tensor: FoundationTensor) -> str:
    """`linear 8da4w,32 scales` is of the form `8da4w,32`."""
    words = tensor.encoding.split()
    return words[1] if len(words) == 3 else words[0]
