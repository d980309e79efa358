"""Converting a PEFT adapter to the canonical form, for a base."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ptefoundry.adapter.canonical import save_adapter
from ptefoundry.adapter.fit import FittedAdapter, FittedModule, fit_adapter
from ptefoundry.adapter.read import read_adapter
from ptefoundry.base.config import load_config
from ptefoundry.errors import AdapterError

if TYPE_CHECKING:
    import torch


def convert_adapter(source: Path, base: Path, into: Path, *, base_name: str) -> FittedAdapter:
    """Convert an adapter for a base, or refuse it.

    Args:
        source: folder with `adapter_config.json` and `adapter_model.safetensors`.
        base: canonical folder of the base.
        into: where `adapter.safetensors`, its digest and `adapter.json` go.
        base_name: what the base is called, for the warning that it is another one.

    Raises:
        AdapterError: with everything that is wrong.
        CheckpointError: the base has no readable configuration.
    """
    from safetensors.torch import save

    adapter = read_adapter(source)
    fitted = fit_adapter(adapter, load_config(base / "config.json"), base_name=base_name)
    save_adapter(
        into,
        save(dict(_canonical_tensors(fitted))),
        modules={module.path: module.rank for module in fitted.modules},
        source={
            "base_model_name_or_path": adapter.options.base_model,
            "peft_version": adapter.options.peft_version,
        },
    )
    return fitted


def _canonical_tensors(fitted: FittedAdapter) -> Iterator[tuple[str, "torch.Tensor"]]:
    modules = {module.lora_a.module: module for module in fitted.modules}
    weights = fitted.adapter.weights
    for matrix, tensor in weights.tensors():
        module = modules[matrix.module]
        is_b = matrix.matrix == "b"
        converted = _canonical_lora_b(weights.path, module, tensor) if is_b else tensor
        yield f"{module.path}.lora_{matrix.matrix}", converted


def _canonical_lora_b(path: Path, module: FittedModule, lora_b: "torch.Tensor") -> "torch.Tensor":
    """Multiply the scale in and permute the rows; fp32 [out, rank] to the same.

    Raises:
        AdapterError: the scaled numbers are beyond fp32; `path` is named.
    """
    from ptefoundry.rotary import half_to_interleaved

    scaled = lora_b * module.scale
    wild = (~scaled.isfinite()).nonzero()  # [how many, 2]
    if len(wild):
        raise AdapterError(
            f"{path}: {module.lora_b.name}: {wild[0].tolist()}: multiplied by its scale "
            f"{module.scale} it is beyond fp32; supported: finite products (lora_alpha in "
            "adapter_config.json)"
        )
    return scaled if module.half_heads is None else half_to_interleaved(scaled, module.half_heads)
