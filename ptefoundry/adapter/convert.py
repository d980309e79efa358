"""The canonical form of an adapter: what a program computes is x@A^T@B^T, nothing else.

A canonical adapter is a folder of

- `adapter.safetensors`: for each adapted linear `<path>.lora_a` [rank, in] and
  `<path>.lora_b` [out, rank] in fp32. The rows of `lora_b` are in the base's
  (interleaved) rotary order, and the module's scale is multiplied in;
- `adapter.json`: format version, `modules` (rank by canonical path) and `source`.

Its bytes depend on the adapter's bytes and the base's shape only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.adapter.fit import FittedAdapter, FittedModule, fit_adapter
from ptefoundry.adapter.read import read_adapter
from ptefoundry.base.config import load_config
from ptefoundry.digest import hash_json
from ptefoundry.errors import AdapterError
from ptefoundry.files import versioned_json, write_bytes, write_json

if TYPE_CHECKING:
    import torch

FORMAT_VERSION = 1
INFO_FILE = "adapter.json"
TENSORS_FILE = "adapter.safetensors"


@dataclass(frozen=True, kw_only=True)
class CanonicalAdapter:
    """A converted adapter; its tensors stay in their file."""

    folder: Path
    modules: dict[str, int]
    """Rank by canonical path of the linear, sorted by path."""
    source: dict[str, Any]
    """What the adapter said of its origin."""

    @property
    def signature(self) -> str:
        """Digest of paths and ranks: adapters of one signature can share a program."""
        return hash_json(self.modules)

    def names(self) -> list[str]:
        """Names of the tensors, sorted."""
        return sorted(f"{path}.lora_{matrix}" for path in self.modules for matrix in "ab")

    def tensors(self) -> Iterator[tuple[str, "torch.Tensor"]]:
        """Read the fp32 tensors one at a time, by name in order.

        Raises:
            AdapterError: the file is damaged or of another adapter.
        """
        from safetensors import SafetensorError, safe_open

        path = self.folder / TENSORS_FILE
        try:
            with safe_open(path, framework="pt") as file:
                if sorted(file.keys()) != self.names():
                    raise AdapterError(f"{path}: not the tensors of {INFO_FILE}; convert again")
                for name in self.names():
                    yield name, file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise AdapterError(f"{path}: damaged ({error}); convert the adapter again") from error


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


def load_adapter(folder: Path) -> CanonicalAdapter:
    """Open what `convert_adapter` wrote.

    Raises:
        AdapterError: it is missing or of another format.
    """
    with versioned_json(
        folder / INFO_FILE,
        FORMAT_VERSION,
        what="a converted adapter",
        remedy="convert the adapter again",
        error=AdapterError,
    ) as info:
        return CanonicalAdapter(
            folder=folder,
            modules=dict(sorted(info["modules"].items())),
            source=dict(info["source"]),
        )


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
