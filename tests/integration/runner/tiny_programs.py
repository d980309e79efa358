"""Tiny programs over one foundation, exported with ExecuTorch's own Llama.

Nothing here comes from ptefoundry: the runner also runs what others export.
"""

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

VOCAB = 512
CONTEXT = 128
CHUNK = 16
"""Most tokens of one forward call."""
N_HEADS, N_KV_HEADS = 4, 2

CONSTANTS: dict[str, Any] = {
    "get_max_seq_len": CHUNK,
    "get_max_context_len": CONTEXT,
    "get_vocab_size": VOCAB,
    "get_bos_id": 1,
    "use_kv_cache": True,
    "enable_dynamic_shape": True,
}


@dataclass(frozen=True)
class TinyProgram:
    """A program's files and the model they were exported from."""

    program: Path
    foundation: Path
    model: nn.Module
    constants: dict[str, Any]

    def logits(self, tokens: list[int]) -> torch.Tensor:
        """Eager logits [vocab] after the last token."""
        return _feed(copy.deepcopy(self.model), tokens, 0)

    def greedy(self, prompt: list[int], count: int) -> list[int]:
        """Eager greedy continuation."""
        return greedy(self.model, prompt, count)


def greedy(model: nn.Module, prompt: list[int], count: int) -> list[int]:
    """Greedy continuation in a new history."""
    model = copy.deepcopy(model)
    logits = _feed(model, prompt, 0)
    answer = [int(logits.argmax())]
    while len(answer) < count:
        logits = _feed(model, answer[-1:], len(prompt) + len(answer) - 1)
        answer.append(int(logits.argmax()))
    return answer


def _feed(model: nn.Module, tokens: list[int], position: int) -> torch.Tensor:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for start in range(0, len(tokens), CHUNK):
            chunk = torch.tensor([tokens[start : start + CHUNK]])
            logits = model(chunk, {"input_pos": torch.tensor([position + start])})
    return logits.reshape(-1, VOCAB)[-1]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What differs between the programs of the tests."""

    lora: bool = False
    rank: int = 4
    targets: tuple[str, ...] = ("q_proj", "v_proj", "down_proj")
    trained: bool = True
    custom_ops: bool = True
    full_logits: bool = False
    layers: int = 2
    dim: int = 64
    hidden_dim: int = 128


def build_model(recipe: Recipe) -> nn.Module:
    """The eager model; equal weights wherever two recipes have the same tensor."""
    from executorch.examples.models.llama.llama_transformer import construct_transformer
    from executorch.examples.models.llama.model_args import ModelArgs
    from executorch.examples.models.llama.source_transformation import custom_kv_cache, sdpa

    lora = {"r": recipe.rank, "lora_alpha": 8, "target_modules": list(recipe.targets)}
    model = construct_transformer(
        ModelArgs(
            dim=recipe.dim,
            n_layers=recipe.layers,
            n_heads=N_HEADS,
            n_kv_heads=N_KV_HEADS,
            hidden_dim=recipe.hidden_dim,
            vocab_size=VOCAB,
            max_seq_len=CHUNK,
            max_context_len=CONTEXT,
            use_kv_cache=True,
            use_sdpa_with_kv_cache_op=recipe.custom_ops,
            enable_dynamic_shape=True,
            generate_full_logits=recipe.full_logits,
            **(lora if recipe.lora else {}),
        )
    )
    for name, parameter in model.named_parameters():
        plain = name.replace(".linear.", ".")
        generator = torch.Generator().manual_seed(sum(plain.encode()))
        scale = 1.0 if "norm" in name else parameter.shape[-1] ** -0.5
        parameter.data = torch.randn(parameter.shape, generator=generator) * scale * 1.5
        if "lora_b" in name and not recipe.trained:
            parameter.data.zero_()
    if recipe.custom_ops:
        model = custom_kv_cache.replace_kv_cache_with_custom_kv_cache(model)
        model = sdpa.replace_sdpa_with_custom_op(model)
    return model.eval()


def tiny_program(
    model: nn.Module, folder: Path, name: str, constants: dict[str, Any] | None = None
) -> TinyProgram:
    """`<name>.pte` and its foundation in `folder`, exported unless they are there."""
    constants = CONSTANTS if constants is None else constants
    path = folder / f"{name}.pte"
    if not path.exists():
        export_program(model, constants, folder, name)
    return TinyProgram(path, folder / "foundation.ptd", model, constants)


def export_program(model: nn.Module, constants: dict[str, Any], folder: Path, name: str) -> None:
    """Write the program, and the tensors that are not an adapter's beside it."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig
    from executorch.exir import to_edge_transform_and_lower as lower
    from executorch.exir.passes import MemoryPlanningPass
    from executorch.exir.passes.sym_shape_eval_pass import ConstraintBasedSymShapeEvalPass

    def tag(node: torch.fx.Node) -> str | None:
        return None if "lora" in node.name else "foundation"

    inputs = (torch.tensor([[1, 2, 3]]), {"input_pos": torch.tensor([0])})
    shapes = ({1: torch.export.Dim("length", min=1, max=CHUNK)}, {"input_pos": None})
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = torch.export.export(
            copy.deepcopy(model), inputs, dynamic_shapes=shapes, strict=False
        )
        for node in exported.graph.nodes:
            if node.op == "placeholder":
                node.meta.setdefault("custom", {})["delegate_constant_tag"] = tag(node)
        edge = lower(
            exported,
            partitioner=[XnnpackPartitioner()],
            compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
            constant_methods=constants,
        )
        program = edge.to_executorch(
            ExecutorchBackendConfig(
                memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
                sym_shape_eval_pass=ConstraintBasedSymShapeEvalPass(),
                external_constants=tag,
            )
        )
    program.write_tensor_data_to_file(str(folder))
    with (folder / f"{name}.pte").open("wb") as file:
        program.write_to_file(file)


def export_module(module: nn.Module, inputs: tuple[torch.Tensor, ...], path: Path) -> Path:
    """A program of any module, without a backend."""
    from executorch.exir import to_edge

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = to_edge(torch.export.export(module, inputs)).to_executorch()
    with path.open("wb") as file:
        program.write_to_file(file)
    return path
