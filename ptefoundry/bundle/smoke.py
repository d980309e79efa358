"""Running a program in the C++ runner and comparing it with its reference.

Without quantized activations, all logits after the prompts and all greedy tokens must
be those of the reference. With them, two correct programs differ by what the reference
measured of rounding (`ptefoundry.model.rounding`): the logits by about as much, and a
token only where the reference's own margin is within reach of it. A token that was
chosen otherwise is put back, and the rest of the answer compared behind it.
"""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptefoundry.digest import hash_file
from ptefoundry.errors import VerificationError
from ptefoundry.files import write_json
from ptefoundry.model.parity import (
    LOGITS_FILE,
    Answer,
    Quantization,
    Rounding,
    load_answers,
)
from ptefoundry.native import runner_program
from ptefoundry.params import SmokeParams
from ptefoundry.process import run

LOGITS_TOLERANCE = 1e-2
"""Largest difference of prefill logits between runtime and reference, in fp32.

A quantized embedding table needs no more: the same integers are multiplied by the same scales.
Nor do weights of fp16: both sides compute in fp32 with the same ones.
"""
ROUNDING_FACTOR = 4.0
"""The same where activations are quantized: root mean square of the differences, in units of what
rounding changes in the reference. Single rows were seen at up to 3."""


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
    prefill_logits_rms: float
    """Root mean square of these differences."""
    equal_tokens: int
    """Greedy tokens compared and found equal."""
    rounded_tokens: int
    """Greedy tokens that differ where rounding alone may choose."""
    rounding: Rounding | None
    """What rounding changes, where activations are quantized; differences are measured by it."""
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
        rounded = 0
        for found, expected in zip(answers, reference.answers, strict=True):
            _check_prompt(files, found, expected)
            rounded += _check_answer(files, smoke, found["tokens"], expected)
        largest, rms = _logits_difference(files, len(answers), Path(name))
    _check_logits(files, largest, rms, reference.rounding)
    parity = Parity(
        conversion_logits=reference.conversion_difference,
        prefill_logits=largest,
        prefill_logits_rms=rms,
        equal_tokens=sum(len(answer.tokens) for answer in reference.answers) - rounded,
        rounded_tokens=rounded,
        rounding=reference.rounding,
        quantization=reference.quantization,
    )
    write_json(into, asdict(_metrics(files, answers, parity)))


def _run_prompts(files: SmokeRun, smoke: SmokeParams, folder: Path) -> list[dict[str, Any]]:
    chat = json.loads((files.tokenizer / "chat.json").read_text())
    options: list[str | Path] = [
        "--logits-out",
        folder,
        *(["--chat-template"] if chat["first"] else []),
    ]
    return _ask(files, list(smoke.prompts), smoke.tokens, folder, options)


def _ask(
    files: SmokeRun, prompts: list[Any], tokens: int, folder: Path, options: list[str | Path]
) -> list[dict[str, Any]]:
    """The runner's answers to prompts: texts, or `{"tokens": ids}`."""
    path = folder / "prompts.json"
    path.write_text(json.dumps(prompts))
    output = run(
        [
            *(runner_program(files.runner), "--program", files.program),
            *("--data", files.foundation, "--tokenizer", files.tokenizer),
            *("--prompt-file", path, "--max-new-tokens", str(tokens)),
            # What a build finds does not depend on what was run before it.
            *("--json", "--no-packed-cache", *options),
        ]
    )
    answers: list[dict[str, Any]] = json.loads(output)["programs"]
    return answers


def _check_prompt(files: SmokeRun, found: dict[str, Any], expected: Answer) -> None:
    if (at := _first_other(found["prompt_tokens"], expected.prompt_tokens)) is not None:
        raise _other_tokens(files, expected, "prompt tokens", at, found["prompt_tokens"])


def _check_answer(files: SmokeRun, smoke: SmokeParams, found: list[int], expected: Answer) -> int:
    """Check all tokens of an answer; returns how many rounding chose."""
    rounded = 0
    while (at := _first_other(found, expected.tokens)) is not None:
        near = expected.near[at] if at < len(expected.near) else []
        if at >= len(found) or found[at] not in near:
            raise _other_tokens(files, expected, "answer tokens", at, found)
        rounded += 1
        kept = expected.tokens[: at + 1]
        found = kept
        if len(kept) < len(expected.tokens):
            found = kept + _continue(files, expected.prompt_tokens + kept, smoke.tokens - len(kept))
    return rounded


def _continue(files: SmokeRun, tokens: list[int], count: int) -> list[int]:
    """What the program says after these tokens."""
    with tempfile.TemporaryDirectory() as name:
        (answer,) = _ask(files, [{"tokens": tokens}], count, Path(name), [])
    continuation: list[int] = answer["tokens"]
    return continuation


def _first_other(ours: list[int], theirs: list[int]) -> int | None:
    """Index of the first difference; None if there is none."""
    if ours == theirs:
        return None
    pairs = zip(ours, theirs, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))


def _other_tokens(
    files: SmokeRun, answer: Answer, what: str, at: int, found: list[int]
) -> VerificationError:
    expected = answer.tokens if what == "answer tokens" else answer.prompt_tokens
    return VerificationError(
        f"{files.program}: expected the {what} of the reference for the prompt "
        f"{answer.prompt!r}, found others from number {at} on:\n"
        f"  expected {expected}\n  found    {found}"
    )


def _check_logits(files: SmokeRun, largest: float, rms: float, rounding: Rounding | None) -> None:
    if rounding is None:
        found, limit, what = largest, LOGITS_TOLERANCE, "a difference of"
    else:
        limit = LOGITS_TOLERANCE + ROUNDING_FACTOR * rounding.logits
        found, what = rms, "a root mean square of the differences of"
    if not found <= limit:
        raise VerificationError(
            f"{files.program}: expected prefill logits within {limit:.3g} of its "
            f"reference's, found {what} {found:.2e}; the program computes something else"
        )


def _logits_difference(files: SmokeRun, prompts: int, folder: Path) -> tuple[float, float]:
    """Differences of the logits after the prompts: the largest, and their root mean square."""
    import numpy as np
    from safetensors.numpy import load_file

    expected = load_file(files.reference / LOGITS_FILE)
    differences = []
    for index in range(prompts):
        theirs = expected[str(index)]
        ours = np.fromfile(folder / f"0-{index}.f32", "<f4")
        if len(ours) != len(theirs):
            raise VerificationError(
                f"{files.program}: expected {len(theirs)} logits, found {len(ours)}; "
                "the program is of another base"
            )
        differences.append(np.abs(theirs.astype("f8") - ours))
    # A NaN on either side is the largest of all.
    found = np.nan_to_num(np.concatenate(differences), nan=np.inf)
    return float(found.max()), float(np.sqrt(np.square(found).mean()))


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
