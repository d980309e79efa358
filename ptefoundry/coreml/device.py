"""What a CoreML program answers on the machine that runs it, against the eager model.

The last proof, which only a Mac can give: fp16, quantized weights and whatever Core ML makes of
the program. Tokens may differ from the eager model's where two are about as likely, so
each token that the program says is held against the eager model's logits at its place.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.coreml.answering import Spoken, answer_prompts, read_chat
from ptefoundry.coreml.driver import StaticDriver
from ptefoundry.coreml.eager import eager_program
from ptefoundry.coreml.gaps import GAPS, prepare_plain, token_gaps
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.errors import VerificationError
from ptefoundry.model.parity import encode_prompt
from ptefoundry.params import SmokeParams


@dataclass(frozen=True, kw_only=True)
class DeviceAnswer:
    """An answer of the program, compared."""

    spoken: Spoken
    equal: int
    """Tokens that are the eager model's likeliest after those before them."""
    gap: float
    """Largest distance of a token's eager logit from the largest one."""


def prove_answers(
    program: Path,
    base: Path,
    variants: Mapping[str, Path | None],
    params: CoremlParams,
    smoke: SmokeParams,
    units: str | None = None,
) -> Iterator[DeviceAnswer]:
    """Let a program answer the smoke prompts here and compare each token.

    Args:
        program: the `.pte`.
        base: canonical folder that it was built from.
        variants: adapter's name -> canonical folder; `base` and None for the base alone.
        params: the options that it was built with.
        smoke: prompts, and how many tokens to answer.
        units: where it runs, as `compute_units` in params.yaml; None: as it was built.

    Raises:
        VerificationError: a token is not among the likeliest of the eager model.
        MissingToolError: this system has no backend that the program needs.
        ConfigError: a prompt and its answer are longer than the context, or the program cannot
            be told these units.
    """
    tokenizer = base / "tokenizer"
    # Weights as the program has them; computed in fp32, as what is compared with must be exact.
    model, exact = prepare_plain(base, params).float(), dataclasses.replace(params, dtype="fp32")
    for name, folder in variants.items():
        answers = answer_prompts(
            program, tokenizer, [name], smoke.prompts, max_new_tokens=smoke.tokens, units=units
        )
        with eager_program(model, base, (name, folder), exact) as eager:
            for spoken in answers:
                driver = StaticDriver(eager.constants, eager.call, adapter=name)
                prompt = encode_prompt(tokenizer, read_chat(tokenizer), spoken.prompt)
                gaps = token_gaps(driver, prompt, spoken.tokens, spoken.tokens)
                _check(spoken, gaps, GAPS[params.dtype])
                equal = sum(gap == 0.0 for gap in gaps)
                yield DeviceAnswer(spoken=spoken, equal=equal, gap=max(gaps))


def _check(spoken: Spoken, gaps: Sequence[float], allowed: float) -> None:
    for place, gap in enumerate(gaps):
        # Also false where it is no number.
        if not gap <= allowed:
            raise VerificationError(
                f"coreml/{spoken.adapter}: {spoken.prompt!r}: token {place + 1} of the answer is "
                f"{spoken.tokens[place]}, whose logit in the eager model is {gap:.3g} less than "
                f"the largest; expected at most {allowed:.3g}. What this machine computes is "
                "not the model: try another compute_units or dtype, and report it"
            )
