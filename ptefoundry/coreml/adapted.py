"""A base with an adapter beside its linears, for as long as it is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.coreml.static_model import static_path
from ptefoundry.errors import AdapterError

if TYPE_CHECKING:
    import torch


@contextmanager
def adapted(model: "torch.nn.Module", adapter: Path | None, dtype: "torch.dtype") -> Iterator[None]:
    """Put an adapter's matrices into a static model, and take them out after the block.

    The base's tensors are those of all other blocks: nothing is copied.

    Args:
        model: of `load_static_model`, perhaps split and quantized.
        adapter: canonical folder; None: nothing is put in.
        dtype: of the matrices in the model.

    Raises:
        AdapterError: the adapter is damaged, or its matrices are beyond the dtype.
    """
    if adapter is None:
        yield
        return
    from ptefoundry.model.lora import LoraLinear

    canonical = load_adapter(adapter)
    tensors = {name: _convert(adapter, name, one, dtype) for name, one in canonical.tensors()}
    linears = {}
    try:
        for path in canonical.modules:
            place = static_path(path)
            linears[place] = linear = model.get_submodule(place)
            wrapped = LoraLinear(linear, tensors[f"{path}.lora_a"], tensors[f"{path}.lora_b"])
            model.set_submodule(place, wrapped.eval())
        yield
    finally:
        for place, linear in linears.items():
            model.set_submodule(place, linear)


def needed_bytes(adapter: Path, dtype: "torch.dtype") -> int:
    """Bytes of weights that an adapter needs in a program.

    These are its matrices, and a bias of zeros for each number of rows, which coremltools
    gives every linear that has none.
    """
    elements, rows = 0, set()
    for _, tensor in load_adapter(adapter).tensors():
        elements += tensor.numel()
        rows.add(tensor.shape[0])
    size: int = (elements + sum(rows)) * dtype.itemsize
    return size


def _convert(
    adapter: Path, name: str, tensor: "torch.Tensor", dtype: "torch.dtype"
) -> "torch.Tensor":
    converted = tensor.to(dtype)
    if not converted.isfinite().all():
        raise AdapterError(
            f"{adapter}: {name}: its numbers are beyond fp16; set backends.coreml.dtype: fp32"
        )
    return converted
