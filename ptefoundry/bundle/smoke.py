"""Running a program in the C++ runner and comparing it with its reference."""

import array
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptefoundry.digest import hash_file
from ptefoundry.errors import VerificationError
from ptefoundry.files import write_json
from ptefoundry.model.parity import LOGITS_FILE, Answer, Quantization, load_answers
from ptefoundry.native import runner_program
from ptefoundry.params import SmokeParams
from ptefoundry.process import run

LOGITS_TOLERANCE = 1e-2
"""Largest difference of prefill logits between runtime and reference, in fp32.

A quantized embedding table needs no more: the same integers are multiplied by the same scales.
"""


@dataclass(frozen=True, kw_only=True)
class SmokeRun:
    """The files of one run; `reference` is a folder that `load_answers` reads."""

    runner: Path
    program: Path
    foundation: Path
    tokenizer: Path
    reference: Path


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How near the program is to PEFT's original, or to that quantized."""

    conversion_logits: float
    """Largest logit difference of the converted model in PyTorch, all positions."""
    prefill_logits: float
    """Largest logit difference of the program after the prompt."""
    equal_tokens: int
    """Greedy tokens compared, all of them equal."""
    quantization: Quantization | None
    """Where the program is quantized, and was compared with the quantized model: what that
    changed against the original."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What `dvc metrics show` shows; medians over the prompts."""

    parity: Parity
    program_sha256: str
    program_bytes: int
    foundation_bytes: int
    load_s: float
    ttft_s: float
    prefill_tok_s: float
    decode_tok_s: float
    rss_bytes: int | None
    anonymous_bytes: int | None


def run_smoke(files: SmokeRun, smoke: SmokeParams, into: Path) -> None:
    """Run the smoke prompts and write `Metrics` to `into`.

    Raises:
        VerificationError: prompt tokens, answer tokens or prefill logits differ.
        BuildError: the runner failed.
    """
    reference = load_answers(files.reference)
    with tempfile.TemporaryDirectory() as name:
        answers = _run_prompts(files, smoke, Path(name))
        for found, expected in zip(answers, reference.answers, strict=True):
            _check_tokens(files, found, expected)
        difference = _logits_difference(files, len(answers), Path(name))
    if not difference <= LOGITS_TOLERANCE:
        raise VerificationError(
            f"{files.program}: expected prefill logits within {LOGITS_TOLERANCE} of its "
            f"reference's, found a difference of {difference:.2e}; the program computes something "
            "else"
        )
    parity = Parity(
        conversion_logits=reference.conversion_difference,
        prefill_logits=difference,
        equal_tokens=sum(len(answer["tokens"]) for answer in answers),
        quantization=reference.quantization,
    )
    write_json(into, asdict(_metrics(files, answers, parity)))


def _run_prompts(files: SmokeRun, smoke: SmokeParams, folder: Path) -> list[dict[str, Any]]:
    prompts = folder / "prompts.json"
    prompts.write_text(json.dumps(list(smoke.prompts)))
    chat = json.loads((files.tokenizer / "chat.json").read_text())
    output = run(
        [
            *(runner_program(files.runner), "--program", files.program),
            *("--data", files.foundation, "--tokenizer", files.tokenizer),
            *("--prompt-file", prompts, "--max-new-tokens", str(smoke.tokens)),
            # What a build finds does not depend on what was run before it.
            *("--logits-out", folder, "--json", "--no-packed-cache"),
            *(["--chat-template"] if chat["first"] else []),
        ]
    )
    answers: list[dict[str, Any]] = json.loads(output)["programs"]
    return answers


def _check_tokens(files: SmokeRun, found: dict[str, Any], expected: Answer) -> None:
    for what, ours, theirs in (
        ("prompt tokens", found["prompt_tokens"], expected.prompt_tokens),
        ("answer tokens", found["tokens"], expected.tokens),
    ):
        if ours == theirs:
            continue
        at = next(
            (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
            min(len(ours), len(theirs)),
        )
        raise VerificationError(
            f"{files.program}: expected the {what} of the reference for the prompt "
            f"{expected.prompt!r}, found others from number {at} on:\n"
            f"  expected {theirs}\n  found    {ours}"
        )


def _logits_difference(files: SmokeRun, prompts: int, folder: Path) -> float:
    """Largest absolute difference of the prefill's last logits, over all prompts."""
    from safetensors.numpy import load_file

    expected = load_file(files.reference / LOGITS_FILE)
    worst = 0.0
    for index in range(prompts):
        theirs = expected[str(index)]
        ours = _read_floats(folder / f"0-{index}.f32")
        if len(ours) != len(theirs):
            raise VerificationError(
                f"{files.program}: expected {len(theirs)} logits, found {len(ours)}; "
                "the program is of another base"
            )
        differences = abs(theirs - ours)
        worst = max(worst, float(differences.max()))
        if not differences.max() >= 0:  # NaN in either
            return float("inf")
    return worst


def _read_floats(path: Path) -> "array.array[float]":
    """Little-endian fp32 values."""
    values = array.array("f", path.read_bytes())
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _metrics(files: SmokeRun, answers: list[dict[str, Any]], parity: Parity) -> Metrics:
    def median(field: str) -> float:
        values = sorted(answer[field] for answer in answers)
        return float(values[len(values) // 2])

    last = answers[-1]
    return Metrics(
        parity=parity,
        program_sha256=hash_file(files.program),
        program_bytes=files.program.stat().st_size,
        foundation_bytes=files.foundation.stat().st_size,
        load_s=median("load_s"),
        ttft_s=median("ttft_s"),
        prefill_tok_s=median("prefill_tok_s"),
        decode_tok_s=median("decode_tok_s"),
        rss_bytes=last["rss_after_generate"],
        anonymous_bytes=last["anon_after_generate"],
    )
