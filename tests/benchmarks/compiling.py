"""Measures compiling against ExecuTorch's own `export_llama`, and prints Markdown tables.

    make benchmarks

Needs a built workspace (`make demo`). Four processes, one after the other: our
templates of the base and of an adapter's kind, the adapter's again without our
shortcuts (ExecuTorch's functions as they are, every pass), whose bytes must be the
same, and `export_llama` of the same base and adapter with the same options. The
programs that come out are run, and their logits compared.

A quarter of an hour on two cores; `--layers 2` takes two minutes.
"""

import argparse
import contextlib
import dataclasses
import filecmp
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import MIB, begin, show, table, timed

import ptefoundry
from ptefoundry.adapter.canonical import TENSORS_FILE, load_adapter, save_adapter
from ptefoundry.base.config import load_config
from ptefoundry.files import write_json
from ptefoundry.lowering.build import build_adapter, build_foundation
from ptefoundry.lowering.compile import compile_template, make_recipe
from ptefoundry.lowering.eos import load_eos_ids
from ptefoundry.lowering.foundation import FOUNDATION_FILE
from ptefoundry.lowering.ptd import read_ptd
from ptefoundry.lowering.template import template_name
from ptefoundry.params import XnnpackParams, load_params

if TYPE_CHECKING:
    import torch

BASE, ADAPTERS = Path("artifacts/base/canonical"), Path("artifacts/adapters/canonical")

#: Tokens of three calls, each at the position where the last one ended.
CALLS = [[1, 504, 2365, 314, 260, 5575], [28], [339, 1390, 288]]

#: ExecuTorch's spelling of an adapter's linears, as its converter wants them.
PEFT_NAMES = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path(ptefoundry.__file__).parents[1])
    parser.add_argument("--adapter", default="nobel")
    parser.add_argument("--layers", type=int, help="take the first layers of the base only")
    parser.add_argument("--step", choices=STEPS, help="one process of the benchmark, in --folder")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    os.chdir(arguments.workspace.resolve())
    if arguments.step:
        STEPS[arguments.step](arguments.folder)
        return
    layers = arguments.layers or load_config(BASE / "config.json").n_layers
    begin()
    with tempfile.TemporaryDirectory(dir="artifacts") as name:
        folder = Path(name)
        _prepare(folder, ADAPTERS / arguments.adapter, layers)
        show(_times(folder, f"{arguments.adapter}, {layers} layers"))
        show(_results(folder))


def _times(folder: Path, what: str) -> str:
    command = [sys.executable, __file__, "--workspace", ".", "--folder", str(folder), "--step"]
    measured = {name: timed([*command, name]) for name in STEPS}
    _, differing, missing = filecmp.cmpfiles(
        folder / "adapter", folder / "plain", os.listdir(folder / "plain"), shallow=False
    )
    if differing or missing:
        raise SystemExit(f"the shortcuts change the template: {differing or missing}")
    peer, _ = measured["upstream"]
    labels = {
        "base": "`compile`, template of the base",
        "adapter": "`compile`, template of the adapter",
        "plain": "the same without shortcuts: all functions and passes of ExecuTorch (same bytes)",
        "upstream": "`export_llama` with the adapter",
    }
    rows = [
        [labels[name], f"{seconds:.0f}", f"{seconds / peer:.2f}", f"{peak / MIB:,.0f}"]
        for name, (seconds, peak) in measured.items()
    ]
    header = ["what", "seconds", "of `export_llama`", "peak RSS, MiB"]
    return table(f"Compiling ({what})", header, rows)


def _results(folder: Path) -> str:
    """What comes out of both, with the same weights in it."""
    sys.path.append(str(Path(__file__).parents[1]))
    from integration.lowering.runtime import runtime_logits

    templates = folder / "templates"
    for name, signature in (("base", {}), ("adapter", load_adapter(folder / "lora").modules)):
        shutil.copytree(folder / name, templates / template_name(signature))
    build_foundation(folder / "canonical", templates, folder / "built")
    linked = folder / "built" / "adapter.pte"
    build_adapter(folder / "lora", templates, folder / "built", linked)
    ours = (linked, folder / "built" / FOUNDATION_FILE)
    theirs = (folder / "upstream" / "adapter.pte", folder / "upstream" / "foundation.ptd")
    logits = [runtime_logits(*files, CALLS) for files in (ours, theirs)]
    keys = [read_ptd(foundation).keys for _, foundation in (ours, theirs)]
    rows = [
        ["program, bytes", *(f"{files[0].stat().st_size:,}" for files in (ours, theirs))],
        ["foundation, bytes", *(f"{files[1].stat().st_size:,}" for files in (ours, theirs))],
        ["constants in the foundation", *(f"{len(each)}" for each in keys)],
        ["of them in the other one too", *[f"{len(keys[0] & keys[1])}"] * 2],
        ["largest logit", *(f"{each.abs().max():.4g}" for each in logits)],
        ["largest difference of logits", *[f"{(logits[0] - logits[1]).abs().max():.1e}"] * 2],
    ]
    return table("What was compiled, linked", ["", "ours", "`export_llama`"], rows)


def _prepare(folder: Path, adapter: Path, layers: int) -> None:
    """Write the first layers of base and adapter in our form and in ExecuTorch's."""
    from safetensors.torch import load_file, save, save_file

    def kept(by_name: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value
            for name, value in by_name.items()
            if not name.startswith("layers.") or int(name.split(".")[1]) < layers
        }

    config = dataclasses.replace(load_config(BASE / "config.json"), n_layers=layers)
    weights = kept(load_file(BASE / "model.safetensors"))
    (folder / "canonical").mkdir()
    save_file(weights, folder / "canonical" / "model.safetensors", {"format": "pt"})
    write_json(folder / "canonical" / "config.json", config.to_dict())
    shutil.copytree(BASE / "tokenizer", folder / "canonical" / "tokenizer")

    matrices = kept(load_file(adapter / TENSORS_FILE))
    canonical = load_adapter(adapter)
    modules = kept(canonical.modules)
    (folder / "lora").mkdir()
    save_adapter(folder / "lora", save(matrices), modules=modules, source=canonical.source)
    _prepare_upstream(folder / "upstream", weights, matrices, folder / "canonical")


def _prepare_upstream(
    folder: Path,
    weights: "dict[str, torch.Tensor]",
    matrices: "dict[str, torch.Tensor]",
    canonical: Path,
) -> None:
    """Write a Meta checkpoint and an adapter whose conversion needs neither permuting nor scale."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    config = load_config(canonical / "config.json")
    names = ("dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "hidden_dim", "norm_eps")
    params = {name: getattr(config, name) for name in (*names, "rope_theta")}
    write_json(folder / "params.json", {**params, "use_scaled_rope": False})
    # The same tensor twice is stored once.
    head = {"output.weight": weights["tok_embeddings.weight"]} if config.tied_embeddings else {}
    torch.save({**weights, **head}, folder / "checkpoint.pth")
    spelled = {}
    for name, tensor in matrices.items():
        _, number, linear, matrix = name.replace(".lora_", " lora_").replace(".", " ", 2).split()
        peft = f"base_model.model.model.layers.{number}.{PEFT_NAMES[linear]}"
        spelled[f"{peft}.lora_{matrix[-1].upper()}.weight"] = tensor
    save_file(spelled, folder / "adapter.safetensors")
    rank = next(iter(matrices.values())).shape[0]
    adapter = {
        "r": rank,
        "lora_alpha": rank,
        "target_modules": [name.split(".")[1] for name in PEFT_NAMES.values()],
    }
    write_json(folder / "adapter_config.json", adapter)


def _params() -> XnnpackParams:
    return load_params(Path.cwd()).backends.xnnpack


def _compile_base(folder: Path) -> None:
    config = load_config(folder / "canonical" / "config.json")
    recipe = make_recipe(config, _params(), {}, "benchmark")
    compile_template(recipe, folder / "base")


def _compile_adapter(folder: Path, into: str = "adapter") -> None:
    config = load_config(folder / "canonical" / "config.json")
    signature = load_adapter(folder / "lora").modules
    recipe = make_recipe(config, _params(), signature, "benchmark")
    compile_template(recipe, folder / into)


def _compile_plain(folder: Path) -> None:
    from ptefoundry.lowering import xnnpack

    xnnpack.shortcuts = lambda _partitioners: contextlib.nullcontext()  # type: ignore[assignment]
    xnnpack._needed_passes_only = contextlib.nullcontext  # type: ignore[assignment]
    _compile_adapter(folder, "plain")


def _export_upstream(folder: Path) -> None:
    from executorch.examples.models.llama.export_llama_lib import export_llama
    from executorch.extension.llm.export.config.llm_config import LlmConfig, LoraConfig

    params, files = _params(), (folder / "upstream").resolve()
    config = LlmConfig()
    config.base.checkpoint = str(files / "checkpoint.pth")
    config.base.params = str(files / "params.json")
    config.base.metadata = json.dumps({"get_eos_ids": load_eos_ids(folder / "canonical")})
    config.base.lora_config = LoraConfig(
        adapter_checkpoint=str(files / "adapter.safetensors"),
        adapter_config=str(files / "adapter_config.json"),
    )
    config.model.use_kv_cache = True
    config.model.use_sdpa_with_kv_cache = True
    config.model.enable_dynamic_shape = True
    config.export.max_seq_length = params.prefill
    config.export.max_context_length = params.context_length
    config.export.output_dir = str(files)
    config.export.output_name = str(files / "adapter.pte")
    config.export.foundation_weights_file = "foundation"
    config.backend.xnnpack.enabled = True
    config.backend.xnnpack.extended_ops = True
    export_llama(config)
    # It only logs what it could not write.
    for name in ("adapter.pte", "foundation.ptd"):
        if not (files / name).is_file():
            raise SystemExit(f"export_llama wrote no {name}")


STEPS = {
    "base": _compile_base,
    "adapter": _compile_adapter,
    "plain": _compile_plain,
    "upstream": _export_upstream,
}


if __name__ == "__main__":
    main()
