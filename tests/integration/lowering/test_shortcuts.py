"""Compiling with shortcuts gives the bytes of ExecuTorch's own way."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.base.config import ModelConfig
from ptefoundry.errors import BuildError
from ptefoundry.lowering import xnnpack
from ptefoundry.lowering.placeholders import placeholder_model
from ptefoundry.lowering.shortcuts import SHORTCUTS, shortcuts
from ptefoundry.params import XnnpackParams


@dataclass(frozen=True)
class Case:
    """What is compiled."""

    architecture: dict[str, Any]
    signature: dict[str, int]
    options: dict[str, str] = field(default_factory=dict)
    """Of the backend, such as how to quantize."""


#: Several layers, equal and not; each operator that a base can have.
CASES = {
    "llama": Case(
        {"architecture": "LlamaForCausalLM", "n_layers": 3, "tied_embeddings": True},
        {
            "layers.0.attention.wq": 4,
            "layers.1.attention.wq": 4,
            "layers.1.feed_forward.w2": 2,
            "layers.2.attention.wo": 8,
        },
    ),
    "qwen2": Case(
        {
            "architecture": "Qwen2ForCausalLM",
            "n_layers": 2,
            "tied_embeddings": False,
            "qkv_bias": True,
        },
        {},
        options={"embedding": "4,32"},
    ),
    "qwen3": Case(
        {
            "architecture": "Qwen3ForCausalLM",
            "n_layers": 1,
            "tied_embeddings": True,
            "qk_norm": True,
        },
        {"layers.0.attention.wk": 4, "layers.0.feed_forward.w1": 4},
        options={"embedding": "8,0"},
    ),
    "quantized": Case(
        {"architecture": "LlamaForCausalLM", "n_layers": 2, "tied_embeddings": True},
        {"layers.0.attention.wv": 4, "layers.1.feed_forward.w2": 2},
        options={"linear": "8da4w,32", "head": "8da8w,0", "embedding": "8,0"},
    ),
}


SHAPE = {
    "dim": 64,
    "hidden_dim": 128,
    "n_heads": 4,
    "n_kv_heads": 2,
    "head_dim": 16,
    "vocab_size": 400,
    "max_context": 256,
    "norm_eps": 1e-5,
    "rope_theta": 1e4,
}


def _compile(
    case: Case, folder: Path, patch: pytest.MonkeyPatch, names: Iterable[str] = tuple(SHORTCUTS)
) -> tuple[bytes, bytes]:
    """Program and foundation, compiled with the named shortcuts."""
    config = ModelConfig(
        **case.architecture,
        **SHAPE,
    )
    params = XnnpackParams(context_length=48, prefill_length=16, **case.options)
    model = placeholder_model(config, case.signature, params).model
    with patch.context() as patched:
        patched.setattr(xnnpack, "shortcuts", lambda partitioners: shortcuts(partitioners, names))
        compiled = xnnpack.compile_program(model, config, params, (2,))
    compiled.write_program(folder / "program.pte")
    compiled.write_foundation(folder / "foundation.ptd")
    return (folder / "program.pte").read_bytes(), (folder / "foundation.ptd").read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_all_shortcuts_together(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = _compile(CASES[name], tmp_path, monkeypatch, names=())
    assert _compile(CASES[name], tmp_path, monkeypatch) == plain


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    with pytest.MonkeyPatch.context() as patch:
        return _compile(CASES["qwen3"], tmp_path_factory.mktemp("plain"), patch, names=())


@pytest.mark.parametrize("name", SHORTCUTS)
def test_each_shortcut_alone(
    name: str, plain: tuple[bytes, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _compile(CASES["qwen3"], tmp_path, monkeypatch, names=[name]) == plain


def test_one_trace_is_left_of_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.export import ExportedProgram

    traced = []
    run_decompositions = ExportedProgram.run_decompositions

    def counted(program: ExportedProgram, *args: Any, **kwargs: Any) -> ExportedProgram:
        traced.append(program)
        return run_decompositions(program, *args, **kwargs)

    monkeypatch.setattr(ExportedProgram, "run_decompositions", counted)
    _compile(CASES["qwen3"], tmp_path, monkeypatch)
    assert len(traced) == 1


def test_passes_run_few_operators_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.fx

    ran = []
    run = torch.fx.Interpreter.call_function

    def counted(interpreter: Any, target: Any, args: Any, kwargs: Any) -> Any:
        # Passes run operators in an interpreter of an empty graph.
        if not len(interpreter.module.graph.nodes):
            ran.append(target)
        return run(interpreter, target, args, kwargs)

    monkeypatch.setattr(torch.fx.Interpreter, "call_function", counted)
    _compile(CASES["qwen3"], tmp_path, monkeypatch, names=[])
    without = len(ran)
    ran.clear()
    _compile(CASES["qwen3"], tmp_path, monkeypatch, names=["known_values_reused"])
    assert len(ran) < without / 5


def test_another_version_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.export import ExportedProgram

    monkeypatch.delattr(ExportedProgram, "run_decompositions")
    with (
        pytest.raises(BuildError, match="ExportedProgram: expected run_decompositions"),
        shortcuts([]),
    ):
        pass
