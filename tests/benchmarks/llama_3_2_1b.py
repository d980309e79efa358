"""The ExecuTorch LoRA demo's own table, at its own scale, and prints it as Markdown.

    python tests/benchmarks/llama_3_2_1b.py --folder DIR

A random checkpoint of Llama-3.2-1B's shapes (bf16) and two rank-16 adapters on all
seven linears (fp32) go through the whole pipeline: `init`, `adapter add`, `build`
with its references and smoke runs, and the runner with both adapters. Takes some
12 minutes on two cores, 11 GiB of memory and 25 GB of disk in DIR, which can be used
again: what is built stays. The other column is what the demo's README prints.
"""

import argparse
import json
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import MIB, machine, output, table
from runner_process import RUNNER, RunnerProcess

import ptefoundry

if TYPE_CHECKING:
    import torch

LAYERS, DIM, HIDDEN, VOCAB = 16, 2048, 8192, 128_256
HEADS, KV_HEADS, HEAD_DIM = 32, 8, 64
RANK = 16
ADAPTERS = ("first", "second")
NEW_TOKENS = 64
LINEARS = {
    "self_attn.q_proj": (HEADS * HEAD_DIM, DIM),
    "self_attn.k_proj": (KV_HEADS * HEAD_DIM, DIM),
    "self_attn.v_proj": (KV_HEADS * HEAD_DIM, DIM),
    "self_attn.o_proj": (DIM, HEADS * HEAD_DIM),
    "mlp.gate_proj": (HIDDEN, DIM),
    "mlp.up_proj": (HIDDEN, DIM),
    "mlp.down_proj": (DIM, HIDDEN),
}
"""Output and input features of a layer's linears."""

DEMO_FOUNDATION, DEMO_PROGRAM = 5_994_013_600, 45_555_712
DEMO_RSS_MIB = (6941.3, 8041.6)
"""What the demo's listing and log say: bytes, and RSS after each adapter's prefill."""


def main() -> None:
    """Build everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="made if missing")
    folder = parser.parse_args().folder.resolve()
    root = folder / "workspace"
    if not (folder / "base" / "tokenizer_config.json").exists():
        _make_base(folder / "base")
    for seed, name in enumerate(ADAPTERS, start=1):
        if not (folder / name / "adapter_config.json").exists():
            _make_adapter(folder / name, seed)
    if not root.exists():
        _make_workspace(folder, root)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    built = json.loads(output(["ptefoundry", "build", "--json"], cwd=root))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(machine(Path(ptefoundry.__file__).parents[1]))
    print(_stages(built))
    print(
        f"The build took {after.ru_utime - before.ru_utime:.0f} s of CPU time; no process had "
        f"more than {after.ru_maxrss / 1024:,.0f} MiB.\n"
    )
    print(_comparison(root, folder))


def _make_base(folder: Path) -> None:
    """A random base in Hugging Face's format."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: _draw(name, shape, generator).to(torch.bfloat16) for name, shape in _base_shapes()
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "hidden_size": DIM,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "vocab_size": VOCAB,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500_000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": VOCAB - 2,
        "eos_token_id": VOCAB - 1,
    }
    (folder / "config.json").write_text(json.dumps(config))
    _make_tokenizer(folder)


def _base_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (VOCAB, DIM)
    yield "model.norm.weight", (DIM,)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.input_layernorm.weight", (DIM,)
        yield f"{prefix}.post_attention_layernorm.weight", (DIM,)
        for linear, shape in LINEARS.items():
            yield f"{prefix}.{linear}.weight", shape


def _draw(name: str, shape: tuple[int, ...], generator: "torch.Generator") -> "torch.Tensor":
    """Norms around 1, matrices that keep the size of what they multiply; fp32."""
    import torch

    noise = torch.randn(shape, generator=generator)
    return 1 + 0.1 * noise if len(shape) == 1 else noise.div_(shape[1] ** 0.5)


def _make_tokenizer(folder: Path) -> None:
    """A byte-level BPE vocabulary of Llama 3's size: bytes, pairs, and pairs with a byte more."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = list(product(alphabet, alphabet))
    longer = islice(((a + b, c) for a, b in pairs for c in alphabet), VOCAB - 2 - 256 - len(pairs))
    merges = [*pairs, *longer]
    words = [*alphabet, *(a + b for a, b in merges)]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|begin|>"), AddedToken("<|end|>")])
    assert tokenizer.get_vocab_size() == VOCAB
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin|>",
        "eos_token": "<|end|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _make_adapter(folder: Path, seed: int) -> None:
    """A random adapter in PEFT's format."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(LAYERS):
        for linear, (rows, columns) in LINEARS.items():
            prefix = f"base_model.model.model.layers.{layer}.{linear}"
            for matrix, shape in (("A", (RANK, columns)), ("B", (rows, RANK))):
                name = f"{prefix}.lora_{matrix}.weight"
                tensors[name] = 0.1 * _draw(name, shape, generator)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "random/Llama-3.2-1B",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "target_modules": [linear.split(".")[1] for linear in LINEARS],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))


def _make_workspace(folder: Path, root: Path) -> None:
    making = folder / "workspace.making"
    shutil.rmtree(making, ignore_errors=True)
    command = ["ptefoundry", "init", str(making), "--name", "demo", "--base", str(folder / "base")]
    output([*command, "--base-name", "random/Llama-3.2-1B", "--context-length", "2048"])
    for name in ADAPTERS:
        output(["ptefoundry", "adapter", "add", name, str(folder / name)], cwd=making)
    making.rename(root)


def _stages(built: dict[str, Any]) -> str:
    rows = [
        [f"`{stage['name']}`", stage["result"], f"{stage['seconds']:.1f}"]
        for stage in built["stages"]
    ]
    return table("Llama-3.2-1B's shapes: the build", ["stage", "", "seconds"], rows)


def _comparison(root: Path, folder: Path) -> str:
    bundle = root / "artifacts/bundle/xnnpack"
    first, second = _run(root)
    foundation, program = (bundle / name for name in ("foundation.ptd", f"{ADAPTERS[0]}.pte"))
    safetensors = folder / ADAPTERS[0] / "adapter_model.safetensors"
    growth = DEMO_RSS_MIB[1] - DEMO_RSS_MIB[0]
    rows = [
        _row("`foundation.ptd`, bytes", DEMO_FOUNDATION, foundation.stat().st_size),
        _row("adapter program, bytes", DEMO_PROGRAM, program.stat().st_size),
        _row("adapter as safetensors, bytes", None, safetensors.stat().st_size),
        _row("RSS after the first adapter, MiB", DEMO_RSS_MIB[0], _mib(first, "rss")),
        _row("RSS after the second adapter, MiB", DEMO_RSS_MIB[1], _mib(second, "rss")),
        _row("the second adds, RSS, MiB", growth, _mib(second, "rss") - _mib(first, "rss")),
        _row("the second adds, PSS, MiB", None, _mib(second, "pss") - _mib(first, "pss")),
        _row("the second adds, anonymous, MiB", None, _mib(second, "anon") - _mib(first, "anon")),
        _row("anonymous after the second, MiB", None, _mib(second, "anon")),
        ["load the second adapter, s", "", f"{second['load_s']:.3f}"],
        ["decode with the second adapter, tok/s", "", f"{second['decode_tok_s']:.1f}"],
    ]
    return table("Llama-3.2-1B's shapes: two adapters", ["", "the demo", "here"], rows)


def _run(root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the runner reports of each adapter, each loaded and run before the next."""
    bundle = root / "artifacts/bundle"
    options = ["--tokenizer", str(bundle / "tokenizer")]
    options += ["--data", str(bundle / "xnnpack/foundation.ptd")]
    options += ["--packed-cache", str(root.parent / "packed")]
    options += ["--program", str(bundle / f"xnnpack/{ADAPTERS[0]}.pte")]
    options += ["--on-demand", str(bundle / f"xnnpack/{ADAPTERS[1]}.pte")]
    _answers(root, options)  # packs the weights
    first, second = _answers(root, options)
    return first, second


def _answers(root: Path, options: list[str]) -> list[dict[str, Any]]:
    """Each adapter's answer, with the process's memory after it."""
    runner = RunnerProcess(options, root / RUNNER)
    results = []
    for name in ADAPTERS:
        answer = runner.ask(prompt="Hello", adapter=name, max_new_tokens=NEW_TOKENS)
        results.append({**answer, **runner.ask(op="stats")["memory"]})
    runner.quit()
    return results


def _mib(record: dict[str, Any], kind: str) -> float:
    return float(record[kind] / MIB)


def _row(label: str, theirs: float | None, ours: float) -> list[str]:
    return [label, "" if theirs is None else f"{theirs:,.0f}", f"{ours:,.0f}"]


if __name__ == "__main__":
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    main()
