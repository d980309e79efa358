"""Programs whose base is stored in half precision, in the runner."""

import array
import json
from pathlib import Path

import pytest
import torch
from integration.lowering.built import Built
from integration.lowering.runtime import eager_logits
from integration.runner.conftest import Runner
from safetensors.torch import load_file

from ptefoundry.params import XnnpackParams

TOLERANCE = 1e-4
PROMPTS = [[5, 17, 9, 200, 31], [7], [(i * 37) % 400 for i in range(40)]]
PARAMS = XnnpackParams(context_length=48, prefill_length=16, embedding="fp16", linear="fp16")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("halves")
    return Built(folder, "LlamaForCausalLM", PARAMS, dtype="bfloat16")


def test_programs_answer_like_eager_with_and_without_packed_weights(
    runner: Runner, built: Built, tmp_path: Path
) -> None:
    prompts, cache = tmp_path / "prompts.json", tmp_path / "cache"
    prompts.write_text(json.dumps([{"tokens": prompt} for prompt in PROMPTS]))
    programs = ("--program", built.programs[None], "--program", built.programs["red"])
    for number in range(2):
        logits = tmp_path / f"logits-{number}"
        report = runner.json(
            *(*programs, "--data", built.foundation, "--prompt-file", prompts),
            *("--max-new-tokens", "4", "--json", "--logits-out", logits, "--packed-cache", cache),
        )
        assert (report["packed_cache"]["build_s"] > 0) == (number == 0)
        for p, adapter in enumerate((None, built.adapters["red"])):
            for q, prompt in enumerate(PROMPTS):
                found = array.array("f", (logits / f"{p}-{q}.f32").read_bytes())
                expected = eager_logits(built.base, adapter, PARAMS, [prompt])[0]
                assert (torch.tensor(found) - expected).abs().max() < TOLERANCE


def test_all_linears_are_packed_into_the_file_that_programs_share(
    runner: Runner, built: Built, tmp_path: Path
) -> None:
    """XNNPACK keeps what it does not know by a key in each program's own memory."""
    report = runner.json(
        *("--program", built.programs[None], "--data", built.foundation),
        *("--tokens", "1,5", "--max-new-tokens", "2", "--json", "--packed-cache", tmp_path),
    )
    tensors = load_file(built.base / "model.safetensors")
    linears = [tensor for name, tensor in tensors.items() if tensor.dim() == 2]
    assert report["packed_cache"]["bytes"] > sum(4 * tensor.numel() for tensor in linears)
