"""The eager static model in place of a program: the same metadata, the same calls."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.base.config import ModelConfig, load_config
from ptefoundry.coreml.adapted import adapted
from ptefoundry.coreml.inputs import Layout, example_inputs, input_length, read_layout
from ptefoundry.coreml.metadata import describe_program
from ptefoundry.coreml.methods import ROLES, Method, method_name
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.coreml.static_model import torch_dtype

if TYPE_CHECKING:
    import torch
    from torch.utils._pytree import TreeSpec


@dataclass(frozen=True)
class EagerProgram:
    """One variant of a static model; what `ptefoundry.coreml.driver` needs of a program."""

    constants: dict[str, Sequence[Any]]
    """Metadata, as a program would return it."""
    model: "torch.nn.Module"
    specs: "dict[str, TreeSpec]"
    """How the flat inputs of each method become its arguments."""

    def call(self, method: str, inputs: "list[torch.Tensor]") -> "list[torch.Tensor]":
        """Compute a method from its inputs in order."""
        import torch
        from torch.utils import _pytree as pytree

        arguments, _ = pytree.tree_unflatten(inputs, self.specs[method])
        with torch.no_grad():
            outputs: list[torch.Tensor] = pytree.tree_leaves(self.model(*arguments))
        return outputs


@contextmanager
def eager_program(
    model: "torch.nn.Module", base: Path, adapter: tuple[str, Path | None], params: CoremlParams
) -> Iterator[EagerProgram]:
    """A static model with an adapter in it for as long as the block runs.

    Args:
        model: of `load_static_model`, perhaps split and quantized.
        base: canonical folder that it was loaded from.
        adapter: name and canonical folder of the adapter; `base` and None for none.
        params: the options that it was loaded with.
    """
    name, folder = adapter
    config = load_config(base / "config.json")
    layouts, specs = [], {}
    with adapted(model, folder, torch_dtype(params)):
        for role in ROLES if params.multifunction else ROLES[:1]:
            called = method_name(name, role, multifunction=params.multifunction)
            method = Method(name=called, adapter=name, role=role)
            layout, specs[called] = _trace(model, config, params, input_length(params, role))
            layouts.append((method, layout))
        described = describe_program(config, params, [], layouts)
        constants: dict[str, Sequence[Any]] = {
            key: value if isinstance(value, list) else [value] for key, value in described.items()
        }
        yield EagerProgram(constants, model, specs)


def _trace(
    model: "torch.nn.Module", config: ModelConfig, params: CoremlParams, length: int
) -> "tuple[Layout, TreeSpec]":
    import torch
    from torch.utils import _pytree as pytree

    example = example_inputs(config, params, length, torch_dtype(params))
    inputs = pytree.tree_structure((example, {}))
    with torch.no_grad():
        outputs = pytree.tree_structure(model(*example))
    return read_layout(inputs, outputs), inputs
