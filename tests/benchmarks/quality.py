"""Measures what quantization costs in quality, and prints a Markdown table.

    make benchmarks

Needs the canonical base of a built workspace (`make demo`). The eager quantized model,
which programs are compared with, reads `alice.txt` in one pass: the beginning of Lewis
Carroll's "Alice's Adventures in Wonderland" (1865), which is in the public domain.
Perplexity is exp of the mean negative log-likelihood of its tokens after the first; it
and the share of positions with the same most likely token are compared with fp32.
"""

import argparse
import math
from pathlib import Path

import torch
from measure import begin, show, table
from tokenizers import Tokenizer
from torch.nn import functional

import ptefoundry
from ptefoundry.digest import hash_bytes
from ptefoundry.model.eager import load_model, quiet_operators
from ptefoundry.model.embedding import QuantizedEmbedding
from ptefoundry.model.half import HalfEmbedding, HalfLinear
from ptefoundry.model.linear import QuantizedLinear, pack_scales, pack_weight
from ptefoundry.model.transformer import Transformer
from ptefoundry.params import XnnpackParams

TEXT = Path(__file__).with_name("alice.txt")
SCHEMES = (
    {},
    {"linear": "fp16", "embedding": "fp16"},
    {"embedding": "8,0"},
    {"embedding": "4,32"},
    {"linear": "8da4w,32", "head": "none", "embedding": "8,0"},
    {"linear": "8da8w,0", "embedding": "8,0"},
    {"linear": "8da4w,32", "head": "8da8w,0", "embedding": "8,0"},
    {"linear": "8da4w,32", "embedding": "8,0"},
    {"linear": "8da4w,32", "embedding": "4,32"},
    {"linear": "8da4w,64", "embedding": "4,32"},
    {"linear": "8da4w,192", "embedding": "4,32"},
)


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path(ptefoundry.__file__).parents[1])
    root = parser.parse_args().workspace.resolve()
    base = root / "artifacts/base/canonical"
    tokens = Tokenizer.from_file(str(base / "tokenizer/tokenizer.json")).encode(TEXT.read_text())
    ids = torch.tensor([tokens.ids])
    begin()
    plain = None
    rows = []
    for options in SCHEMES:
        model, logits = _read(base, ids, XnnpackParams(**options))
        plain = logits if plain is None else plain
        perplexity = _perplexity(logits, ids)
        same = (logits.argmax(1) == plain.argmax(1)).double().mean()
        rows.append(
            [
                *(f"`{options.get(part, default)}`" for part, default in _DEFAULTS.items()),
                f"{_stored_bytes(model):,}",
                f"{perplexity:.2f}",
                f"{perplexity / _perplexity(plain, ids):.3f}",
                f"{same:.1%}",
            ]
        )
    header = [
        *_DEFAULTS,
        *("bytes of weights", "perplexity", "of fp32's", "same most likely token"),
    ]
    show(table(f"Quality of quantized bases ({ids.shape[1]} tokens)", header, rows))


_DEFAULTS = {part: getattr(XnnpackParams(), part) for part in ("embedding", "linear", "head")}


def _read(base: Path, ids: torch.Tensor, params: XnnpackParams) -> tuple[Transformer, torch.Tensor]:
    """The model and its logits [tokens, vocab]."""
    model = load_model(base, context=ids.shape[1], all_logits=True, schemes=params.schemes)
    with torch.no_grad(), quiet_operators():
        return model, model(ids, torch.zeros(1, dtype=torch.int64))


def _perplexity(logits: torch.Tensor, ids: torch.Tensor) -> float:
    return math.exp(functional.cross_entropy(logits[:-1], ids[0, 1:]).item())


def _stored_bytes(model: Transformer) -> int:
    """What a foundation stores of the weights; equal tensors count once."""
    tensors = list(model.parameters())
    for module in model.modules():
        if isinstance(module, QuantizedEmbedding):
            tensors += [module.weight, module.scales]
        elif isinstance(module, HalfEmbedding | HalfLinear):
            tensors.append(module.weight)
        elif isinstance(module, QuantizedLinear):
            bits = module.scheme.bits
            tensors += [pack_weight(module.weight, bits), pack_scales(module.scales, bits)]
    data = (memoryview(tensor.detach().contiguous().numpy()).cast("B") for tensor in tensors)
    return sum({hash_bytes(one): len(one) for one in data}.values())


if __name__ == "__main__":
    main()
