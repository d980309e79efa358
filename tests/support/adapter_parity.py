"""Logits of one prompt, from the exported model's eager form and from PEFT."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.adapter.convert import convert_adapter
from ptefoundry.base.convert import convert_base
from support.tiny_models import save_tiny_base

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-3
"""Largest difference of a logit in fp32; differences of the order of summing are near 1e-5."""

TOKENS = [1, 5, 90, 17, 33, 200, 7, 8, 300, 10, 4, 4, 61]
"""A prompt long enough for every rotary frequency to matter."""


@dataclass(frozen=True)
class Base:
    """A tiny base as fetched and as converted."""

    source: Path
    canonical: Path


def make_base(folder: Path, architecture: str = "LlamaForCausalLM", **settings: Any) -> Base:
    """Write and convert a tiny base; `settings` go to `save_tiny_base`."""
    base = Base(folder / "source", folder / "canonical")
    save_tiny_base(base.source, architecture, **settings)
    convert_base(base.source, base.canonical)
    return base


def convert(base: Base, adapter: Path) -> Path:
    """Convert an adapter for a base; returns the canonical folder beside it."""
    folder = adapter.with_name(f"{adapter.name}-canonical")
    convert_adapter(adapter, base.canonical, folder, base_name="tiny")
    return folder


def our_logits(base: Base, canonical: Path) -> "torch.Tensor":
    """Logits [tokens, vocab] of the exported model's eager form."""
    import torch

    from ptefoundry.model.eager import load_model

    model = load_model(base.canonical, canonical, context=64, all_logits=True)
    logits: torch.Tensor = model(torch.tensor([TOKENS]), torch.tensor([0]))
    return logits.reshape(len(TOKENS), -1)


def peft_logits(base: Base, adapter: Path | None) -> "torch.Tensor":
    """Logits [tokens, vocab] of transformers, with PEFT's adapter or none."""
    from ptefoundry.model.reference import load_reference, reference_logits

    return reference_logits(load_reference(base.source, adapter, base.canonical), TOKENS)


@cache
def base_logits(base: Base) -> "torch.Tensor":
    """Logits [tokens, vocab] of transformers without an adapter, computed once."""
    return peft_logits(base, None)


def difference(left: "torch.Tensor", right: "torch.Tensor") -> float:
    """Largest absolute difference."""
    return float((left - right).abs().max())
