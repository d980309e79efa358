"""Building the eager model from a canonical base and a canonical adapter."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.base.config import load_config
from ptefoundry.errors import CheckpointError, MissingToolError
from ptefoundry.schemes import HalfScheme, Schemes
from ptefoundry.wheel import executorch_folder

if TYPE_CHECKING:
    from ptefoundry.model.transformer import Transformer

_OPERATORS = "*custom_ops_aot_lib.*"


def load_model(
    base: Path,
    adapter: Path | None = None,
    *,
    context: int,
    all_logits: bool = False,
    schemes: Schemes | None = None,
) -> "Transformer":
    """The fp32 model of a canonical base, with an adapter's matrices beside its linears.

    Args:
        base: folder that `convert_base` wrote.
        adapter: folder that `convert_adapter` wrote, or None.
        context: length of the caches in tokens.
        all_logits: return logits of every position.
        schemes: what to quantize, and how; None: nothing.

    Raises:
        CheckpointError: the tensors are not those that the configuration needs, or too large
            for their scheme.
        ConfigError: the base cannot be quantized so.
    """
    import torch

    from ptefoundry.model.transformer import Transformer

    register_operators()
    config = load_config(base / "config.json")
    with torch.device("meta"):
        model = Transformer(config, context, all_logits=all_logits)
    _fill(model, base / "model.safetensors", tied=config.tied_embeddings)
    if schemes is not None:
        _quantize(model, schemes)
    if adapter is not None:
        from ptefoundry.model.lora import add_adapter

        canonical = load_adapter(adapter)
        add_adapter(model, canonical.modules, dict(canonical.tensors()))
    model.eval().requires_grad_(requires_grad=False)
    return model


def _quantize(model: "Transformer", schemes: Schemes) -> None:
    """Quantize a model in place; what is not imported takes no time."""
    if isinstance(schemes.embedding, HalfScheme):
        from ptefoundry.model.half import HalfEmbedding, halved

        table = halved(model.tok_embeddings.weight, "tok_embeddings.weight")
        model.set_submodule("tok_embeddings", HalfEmbedding(table))
    elif schemes.embedding:
        from ptefoundry.model.embedding import quantize_embedding

        quantize_embedding(model, schemes.embedding)
    if schemes.linear or schemes.head:
        from ptefoundry.model.linear import quantize_linears

        quantize_linears(model, schemes)


def register_operators() -> None:
    """Make PyTorch know `llama::custom_sdpa` and `llama::update_cache`, to compute with them.

    ExecuTorch's Python module does that too, and registers what tracing needs, but it
    imports torch._inductor and executorch.exir: five seconds instead of none.

    Raises:
        MissingToolError: the ExecuTorch wheel is not installed, or has no such library.
    """
    import torch

    libraries = list((executorch_folder() / "extension/llm/custom_ops").glob(_OPERATORS))
    if len(libraries) != 1:
        raise MissingToolError(
            f"executorch: expected one library {_OPERATORS} in the wheel, found {len(libraries)}; "
            "install the locked requirements again"
        )
    torch.ops.load_library(libraries[0])


def _fill(model: "Transformer", path: Path, *, tied: bool) -> None:
    """Put the tensors of a canonical `model.safetensors` in place, as fp32."""
    from safetensors.torch import load_file

    tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    if tied:
        tensors["output.weight"] = tensors["tok_embeddings.weight"]
    missing, unexpected = model.load_state_dict(tensors, strict=False, assign=True)
    if missing or unexpected:
        raise CheckpointError(
            f"{path}: tensors do not match config.json beside it; missing: "
            f"{', '.join(missing) or 'none'}; unexpected: {', '.join(unexpected) or 'none'}; "
            "convert the base again"
        )


@contextmanager
def quiet_operators() -> Iterator[None]:
    """Hold back what ExecuTorch's operators print to stderr for each call.

    They write past Python, to the file descriptor; errors come as exceptions.
    """
    kept = os.dup(2)
    silent = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silent, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(silent)
        os.close(kept)
