"""Letting a bundle's CoreML program answer, on a Mac."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ptefoundry.bundle.manifest import Variant
from ptefoundry.errors import ConfigError

from .output import print_json

if TYPE_CHECKING:
    from ptefoundry.coreml.answering import Spoken

    from .generation import Generation

_NOT_TAKEN = (
    *("temperature", "top_p", "seed", "threads"),
    *("packed_cache", "packed_cache_max_bytes"),
)


def run_coreml(folder: Path, variants: Sequence[Variant], generation: "Generation") -> int:
    """Answer the prompts with each variant; returns the exit code.

    Raises:
        ConfigError: it is to do what only the C++ runner does.
        MissingToolError: this is no Mac.
    """
    from ptefoundry.coreml.answering import answer_prompts

    _check(generation)
    answers = answer_prompts(
        folder / variants[0].program,
        folder / "tokenizer",
        [variant.adapter for variant in variants],
        generation.prompts,
        max_new_tokens=generation.max_new_tokens,
        raw=generation.raw,
        units=generation.compute_units,
    )
    if generation.json:
        print_json([asdict(answer) for answer in answers])
        return 0
    for answer in answers:
        _show(answer)
    return 0


def _check(generation: "Generation") -> None:
    if generation.is_dialogue:
        raise ConfigError("--prompt: expected one, as Core ML programs answer single prompts only")
    for name in _NOT_TAKEN:
        if getattr(generation, name) is not None:
            option = name.replace("_", "-")
            raise ConfigError(f"--{option}: expected it with --backend xnnpack alone; leave it out")


def _show(answer: "Spoken") -> None:
    speed = (len(answer.tokens) - 1) / answer.decode_s if len(answer.tokens) > 1 else 0.0
    print(f"=== {answer.adapter}: {answer.prompt}")
    print(answer.text)
    print(
        f"{answer.prompt_tokens} prompt tokens, first token after {answer.prefill_s:.3f} s, "
        f"{len(answer.tokens)} tokens at {speed:.1f} tok/s"
    )
