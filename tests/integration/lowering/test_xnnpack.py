"""Programs of tiny models: linked and exported in full, byte by byte, and run by ExecuTorch."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from integration.lowering.runtime import eager_logits, runtime_logits

from ptefoundry.adapter.canonical import TENSORS_FILE, load_adapter, save_adapter
from ptefoundry.adapter.convert import convert_adapter
from ptefoundry.adapter.signatures import merge_signatures
from ptefoundry.base.config import load_config
from ptefoundry.base.convert import convert_base
from ptefoundry.bundle.manifest import Variant
from ptefoundry.bundle.relink import check_export
from ptefoundry.files import write_json
from ptefoundry.lowering import xnnpack
from ptefoundry.lowering.build import build_adapter, build_foundation
from ptefoundry.lowering.compile import compile_template, make_recipe
from ptefoundry.lowering.full_export import export_in_full
from ptefoundry.lowering.ptd import read_ptd
from ptefoundry.lowering.pte import read_pte
from ptefoundry.lowering.template import load_template, template_name
from ptefoundry.params import XnnpackParams
from ptefoundry.workspace import Workspace
from support.golden_template import TEMPLATES
from support.tiny_models import save_tiny_adapter, save_tiny_base

PARAMS = XnnpackParams(context_length=48, prefill_length=16)


class Built:
    """One base and adapters of two signatures, linked."""

    def __init__(self, root: Path, architecture: str, **base: Any) -> None:
        self.root, self.base = root, root / "canonical"
        self.templates, self.foundation_folder = root / "templates", root / "foundation"
        save_tiny_base(root / "base", architecture, **base)
        convert_base(root / "base", self.base)
        self.compile({})
        build_foundation(self.base, self.templates, self.foundation_folder)
        self.adapters: dict[str, Path] = {}
        self.programs: dict[str, Path] = {}

    @property
    def foundation(self) -> Path:
        return self.foundation_folder / "foundation.ptd"

    @property
    def base_program(self) -> Path:
        return self.foundation_folder / "base.pte"

    def compile(self, signature: dict[str, int]) -> Path:
        """The template of a signature, compiled unless it is there."""
        folder = self.templates / template_name(signature)
        if not folder.exists():
            config = load_config(self.base / "config.json")
            compile_template(make_recipe(config, PARAMS, signature, "test"), folder)
        return folder

    def add(self, name: str, **lora: Any) -> Path:
        """Make an adapter with PEFT, convert and link it."""
        folder = self.root / name
        save_tiny_adapter(self.root / "base", folder, **lora)
        self.adapters[name] = self.root / f"{name}-canonical"
        convert_adapter(folder, self.base, self.adapters[name], base_name="")
        return self.link(name)

    def link(self, name: str) -> Path:
        self.compile(load_adapter(self.adapters[name]).modules)
        self.programs[name] = self.root / f"{name}.pte"
        build_adapter(
            self.adapters[name], self.templates, self.foundation_folder, self.programs[name]
        )
        return self.programs[name]

    def export(self, name: str | None, folder: Path) -> tuple[bytes, bytes]:
        """Program and foundation of an export with the real weights."""
        compiled = export_in_full(self.base, self.adapters[name] if name else None, PARAMS)
        compiled.write_program(folder / "full.pte")
        compiled.write_foundation(folder / "full.ptd")
        return (folder / "full.pte").read_bytes(), (folder / "full.ptd").read_bytes()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    built = Built(tmp_path_factory.mktemp("llama"), "LlamaForCausalLM")
    built.add("red", seed=1)
    built.add("blue", seed=2, lora_alpha=4, use_rslora=True)
    built.add("small", seed=3, rank=2, targets=("q_proj", "v_proj"), layers_to_transform=[1])
    return built


#: Biases and an untied head; norms of query and key heads.
OTHERS: dict[str, dict[str, Any]] = {
    "Qwen2ForCausalLM": {"tied": False, "num_hidden_layers": 1},
    "Qwen3ForCausalLM": {"num_hidden_layers": 1, "dtype": "bfloat16"},
}


@pytest.fixture(scope="module", params=["LlamaForCausalLM", *OTHERS])
def built_each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    if request.param not in OTHERS:
        return request.getfixturevalue("built")
    built = Built(tmp_path_factory.mktemp("other"), request.param, **OTHERS[request.param])
    built.add("red")
    return built


def test_linked_files_equal_full_exports(built_each: Built, tmp_path: Path) -> None:
    built = built_each
    foundation = built.foundation.read_bytes()
    for name, linked in {None: built.base_program, **built.programs}.items():
        program, data = built.export(name, tmp_path)
        assert linked.read_bytes() == program, name
        assert foundation == data, name


@pytest.mark.parametrize("ids", [[3, 5], [5, 0]], ids=["plain", "zero"])
def test_ids_that_end_answers_are_those_of_a_full_export(
    built: Built, tmp_path: Path, ids: list[int]
) -> None:
    base = Path(shutil.copytree(built.base, tmp_path / "base"))
    chat = json.loads((base / "tokenizer" / "chat.json").read_text())
    write_json(base / "tokenizer" / "chat.json", {**chat, "eos_token_ids": ids})
    build_foundation(base, built.templates, tmp_path / "foundation")
    linked, full = tmp_path / "foundation" / "base.pte", tmp_path / "full.pte"
    export_in_full(base, None, PARAMS).write_program(full)
    assert linked.read_bytes() == full.read_bytes() != built.base_program.read_bytes()
    assert read_pte(full).constants["get_eos_ids"] == (*ids, *[ids[-1]] * 6)
    assert (tmp_path / "foundation" / "foundation.ptd").read_bytes() == (
        built.foundation.read_bytes()
    )


def test_adapters_of_one_signature_share_a_template(built: Built) -> None:
    signatures = {
        name: template_name(load_adapter(folder).modules) for name, folder in built.adapters.items()
    }
    assert signatures["red"] == signatures["blue"] != signatures["small"]
    assert len(list(built.templates.iterdir())) == 3


def test_golden_templates_are_compiled_anew_to_the_same_bytes(tmp_path: Path) -> None:
    for name in ("base", "adapter"):
        compile_template(load_template(TEMPLATES / name).map.recipe, tmp_path / name)
        for file in (TEMPLATES / name).iterdir():
            assert (tmp_path / name / file.name).read_bytes() == file.read_bytes(), file


def test_programs_compute_what_the_eager_model_does(built_each: Built) -> None:
    built = built_each
    calls = [[5, 17, 9, 200, 31], [7], [8], [300, 2, 44]]
    variants = {None: built.base_program, **built.programs}
    results = {}
    for name, program in variants.items():
        adapter = built.adapters[name] if name else None
        results[name] = runtime_logits(program, built.foundation, calls)
        expected = eager_logits(built.base, adapter, PARAMS, calls)
        torch.testing.assert_close(results[name], expected, atol=1e-4, rtol=0)
    assert (results["red"] - results[None]).abs().max() > 0.1


def test_adapter_matrices_are_in_the_program_and_nothing_else(built: Built) -> None:
    foundation = read_ptd(built.foundation)
    base = read_pte(built.base_program)
    assert base.entries == ()
    assert base.needs == foundation.keys
    for name in ("red", "blue"):
        linked = read_pte(built.programs[name])
        assert len(linked.entries) == 2 * 7 * 2  # layers, linears, A and B
        assert linked.needs == foundation.keys
        # What the adapter adds is its fp32 matrices and the text that computes with them.
        matrices = sum(entry.size for entry in linked.entries)
        assert linked.size - base.size < matrices + 64 * 1024


def test_metadata_says_what_a_runner_needs(built: Built) -> None:
    constants = read_pte(built.programs["red"]).constants
    assert constants["get_max_context_len"] == (48,)
    assert constants["get_max_seq_len"] == (16,)
    assert constants["get_eos_ids"] == (2,) * 8
    assert constants["use_kv_cache"] == (True,)


@pytest.fixture(scope="module")
def untrained(built: Built) -> Path:
    """Its lora_b are all zero: many slots of equal bytes, so keys that stand several times."""
    from safetensors.torch import load_file, save

    folder = built.root / "zero-canonical"
    shutil.copytree(built.adapters["red"], folder)
    tensors = load_file(folder / TENSORS_FILE)
    zeros = {
        name: torch.zeros_like(tensor) if name.endswith("b") else tensor
        for name, tensor in tensors.items()
    }
    save_adapter(folder, save(zeros), modules=load_adapter(folder).modules, source={})
    return folder


def test_untrained_adapter_computes_what_the_base_does(
    built: Built, untrained: Path, tmp_path: Path
) -> None:
    program = tmp_path / "zero.pte"
    build_adapter(untrained, built.templates, built.foundation_folder, program)
    keys = [entry.key for entry in read_pte(program).entries]
    assert len(set(keys)) < len(keys)
    calls = [[5, 17, 9, 200, 31], [7], [8]]
    expected = runtime_logits(built.base_program, built.foundation, calls)
    assert torch.equal(runtime_logits(program, built.foundation, calls), expected)


def test_a_program_that_no_export_gives_is_verified_with_a_fresh_template(
    built: Built, untrained: Path, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path)
    adapter = workspace.canonical_adapter("zero")
    artifacts, bundled = workspace.artifacts, workspace.bundle / "xnnpack"
    for source, target in {
        untrained: adapter,
        built.base: workspace.canonical_base,
        built.templates: artifacts / "compile/xnnpack",
        built.foundation_folder: artifacts / "foundation/xnnpack",
    }.items():
        shutil.copytree(source, target)
    build_adapter(adapter, built.templates, built.foundation_folder, bundled / "zero.pte")
    variant = Variant(
        backend="xnnpack",
        adapter="zero",
        program="xnnpack/zero.pte",
        data=("xnnpack/foundation.ptd",),
        method="forward",
    )
    reason = check_export(workspace, PARAMS, variant)
    assert reason is not None
    assert "lora_b has zeros only, and linking marks them with their shape" in reason


def test_an_adapter_in_a_larger_template_computes_the_same(built: Built, tmp_path: Path) -> None:
    """One linear pair of one layer in a program for all, with half of its rank."""
    templates = tmp_path / "templates"
    signature = merge_signatures(load_adapter(folder).modules for folder in built.adapters.values())
    shutil.copytree(built.templates / template_name(signature), templates / "shared")
    program = tmp_path / "small.pte"
    build_adapter(built.adapters["small"], templates, built.foundation_folder, program, shared=True)
    calls = [[5, 17, 9, 200, 31], [7], [8], [300, 2, 44]]
    expected = eager_logits(built.base, built.adapters["small"], PARAMS, calls)
    found = runtime_logits(program, built.foundation, calls)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_equal_tensors_of_a_base_are_stored_as_an_export_does(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    built = Built(tmp_path, "Qwen2ForCausalLM", num_hidden_layers=1)
    path = built.base / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    for kind in ("weight", "bias"):
        tensors[f"layers.0.attention.wv.{kind}"] = tensors[f"layers.0.attention.wk.{kind}"].clone()
    tensors["norm.weight"] = tensors["layers.0.ffn_norm.weight"].clone()
    tensors["layers.0.attention.wq.bias"] = torch.zeros(64)
    save_file(tensors, path)
    build_foundation(built.base, built.templates, built.foundation_folder)
    _, data = built.export(None, tmp_path)
    assert built.foundation.read_bytes() == data
    # The export also numbers equal norms alike, which changes the program's bytes only.
    exported = runtime_logits(tmp_path / "full.pte", built.foundation, [[5, 17, 9], [7]])
    linked = runtime_logits(built.base_program, built.foundation, [[5, 17, 9], [7]])
    assert torch.equal(linked, exported)


def test_needed_passes_give_the_bytes_of_all_passes(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def all_passes() -> Iterator[None]:
        yield

    monkeypatch.setattr(xnnpack, "_needed_passes_only", all_passes)
    program, _ = built.export("red", tmp_path)
    assert program == built.programs["red"].read_bytes()


def test_templates_do_not_depend_on_process_or_folder(built: Built, tmp_path: Path) -> None:
    folder = tmp_path / "another"
    folder.mkdir()
    name = template_name(load_adapter(built.adapters["small"]).modules)
    script = (
        "import sys; from pathlib import Path;"
        "from ptefoundry.lowering.compile import compile_template;"
        "from ptefoundry.lowering.template import load_template;"
        "compile_template(load_template(Path(sys.argv[1])).map.recipe, Path(sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-c", script, built.templates / name, folder / "template"],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        cwd=folder,
        check=True,
        capture_output=True,
    )
    for file in (built.templates / name).iterdir():
        assert (folder / "template" / file.name).read_bytes() == file.read_bytes(), file.name


def test_placeholders_take_no_memory(tmp_path: Path) -> None:
    """A model of Llama-3.2-1B's size, made in a process of its own, to read its peak."""
    script = (
        "import resource, json; from ptefoundry.base.config import ModelConfig;"
        "from ptefoundry.lowering.placeholders import placeholder_model;"
        "from ptefoundry.params import XnnpackParams;"
        "import executorch.extension.llm.custom_ops.custom_ops, torch.nn;"
        "import ptefoundry.model.lora, ptefoundry.model.transformer;"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10;"
        "before = peak();"
        "config = ModelConfig(architecture='LlamaForCausalLM', dim=2048, n_layers=16, n_heads=32,"
        " n_kv_heads=8, head_dim=64, hidden_dim=8192, vocab_size=128256, norm_eps=1e-5,"
        " rope_theta=5e5, max_context=2048, tied_embeddings=True);"
        "made = placeholder_model(config, {'layers.3.attention.wq': 16},"
        " XnnpackParams(context_length=128));"
        "size = sum(len(one.data) for one in made.constants);"
        "print(json.dumps([size, peak() - before]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    size, taken = json.loads(done.stdout.splitlines()[-1])
    assert size > 4_900_000_000
    assert taken < 200_000_000
