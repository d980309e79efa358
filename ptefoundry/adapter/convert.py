"""Converting a PEFT adapter to the canonical form, for a base."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ptefoundry.adapter.canonical import FORMAT_VERSION, INFO_FILE, TENSORS_FILE
from ptefoundry.adapter.fit import FittedAdapter, FittedModule, fit_adapter
from ptefoundry.adapter.read import read_adapter
from ptefoundry.base.config import load_config
from ptefoundry.errors import AdapterError
from ptefoundry.files import write_bytes, write_json

if TYPE_CHECKING:
    import torch


def convert_adapter(source: Path, base: Path, into: Path, *, base_name: str) -> FittedAdapter:
    """Convert an adapter for a base, or refuse it.

    Args:
        source: folder with `adapter_config.json` and `adapter_model.safetensors`.
        base: canonical folder of the base.
        into: where `adapter.json` and `adapter.safetensors` go.
        base_name: what the base is called, for the warning that it is another one.

    Raises:
        AdapterError: with everything that is wrong.
        CheckpointError: the base has no readable configuration.
    """
    from safetensors.torch import save

    adapter = read_adapter(source)
    fitted = fit_adapter(adapter, load_config(base / "config.json"), base_name=base_name)
    data = save(dict(_canonical_tensors(fitted)))
    info = {
        "format_version": FORMAT_VERSION,
        "modules": {module.path: module.rank for module in fitted.modules},
        "source": {
            "base_model_name_or_path": adapter.options.base_model,
            "peft_version": adapter.options.peft_version,
        },
    }
    # Without adapter.json nothing is an adapter: a killed conversion leaves no mixture behind.
    (into / INFO_FILE).unlink(missing_ok=True)
    write_bytes(into / TENSORS_FILE, data)
    write_json(into / INFO_FILE, info)
    return fitted


def _canonical_tensors(fitted: FittedAdapter) -> Iterator[tuple[str, "torch.Tensor"]]:
    modules = {module.lora_a.module: module for module in fitted.modules}
    for matrix, tensor in fitted.adapter.weights.tensors():
        module = modules[matrix.module]
        converted = _canonical_lora_b(module, tensor) if matrix.matrix == "b" else tensor
        yield f"{module.path}.lora_{matrix.matrix}", converted


def _canonical_lora_b(module: FittedModule, lora_b: "torch.Tensor") -> "torch.Tensor":
    """Permute the rows and multiply the scale in; fp32 [out, rank] to the same.

    Raises:
        AdapterError: the scaled numbers are beyond fp32.
    """
    from ptefoundry.rotary import half_to_interleaved

    if module.half_heads is not None:
        lora_b = half_to_interleaved(lora_b, module.half_heads)
    scaled = lora_b * module.scale
    if not scaled.isfinite().all():
        raise AdapterError(
            f"{module.lora_b.name}: multiplied by its scale {module.scale} it is beyond fp32; "
            "supported: finite products (lora_alpha in adapter_config.json)"
        )
    return scaled
