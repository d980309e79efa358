"""Proof that the static model computes what transformers and PEFT compute.

The model that is exported runs in PyTorch, in fp32 and not quantized, with the lengths,
splits and caches of the program: prompts in pieces, then token by token. For a program in fp16
its arithmetic is tried too (`ptefoundry.coreml.half`). What Core ML itself makes of the program
can only be seen on Apple's systems.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ptefoundry.coreml.driver import StaticDriver
from ptefoundry.coreml.eager import eager_program
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.coreml.program import prepare_model
from ptefoundry.digest import hash_file
from ptefoundry.errors import VerificationError
from ptefoundry.files import write_json
from ptefoundry.model.parity import LOGITS_FILE, TOLERANCE, Answer, load_answers


@dataclass(frozen=True, kw_only=True)
class StaticParity:
    """How near the static model is to its original, and the program that it became."""

    prefill_logits: float
    """Largest difference of the fp32 logits after a prompt."""
    equal_tokens: int
    """Greedy tokens compared and found equal."""
    fp16_gap: float | None
    """Largest distance of the exact logit of a token that fp16 says from the largest one, with
    the program's weights; None for a program in fp32."""
    program_sha256: str
    program_bytes: int


def prove_parity(
    base: Path,
    adapter: tuple[str, Path | None],
    reference: Path,
    params: CoremlParams,
    program: Path,
    into: Path,
) -> None:
    """Answer the smoke prompts with the static model and write `StaticParity` to `into`.

    Args:
        base: canonical folder.
        adapter: name and canonical folder of the adapter; `base` and None for none.
        reference: what `ptefoundry.model.parity.make_reference` wrote for the variant.
        params: the backend's options.
        program: the `.pte` that was built with them.
        into: the file to write.

    Raises:
        VerificationError: logits or tokens differ, or fp16 is not enough for the model.
        ConfigError: a prompt and its answer are longer than the context.
    """
    expected = load_answers(reference)
    worst = _prove_logits(base, adapter, reference, expected.answers, params)
    fp16_gap = None
    if params.dtype == "fp16":
        from ptefoundry.coreml.half import prove_half

        fp16_gap = prove_half(base, adapter, expected.answers, params)
    parity = StaticParity(
        prefill_logits=worst,
        equal_tokens=sum(len(answer.tokens) for answer in expected.answers),
        fp16_gap=fp16_gap,
        program_sha256=hash_file(program),
        program_bytes=program.stat().st_size,
    )
    write_json(into, asdict(parity))


def _prove_logits(
    base: Path,
    adapter: tuple[str, Path | None],
    reference: Path,
    answers: Sequence[Answer],
    params: CoremlParams,
) -> float:
    """Compare logits and tokens of the exact model; returns the largest difference."""
    from safetensors.torch import load_file

    exact = dataclasses.replace(params, dtype="fp32", embedding="none", linear="none")
    logits, worst = load_file(reference / LOGITS_FILE), 0.0
    with eager_program(prepare_model(base, exact), base, adapter, exact) as eager:
        for index, answer in enumerate(answers):
            driver = StaticDriver(eager.constants, eager.call, adapter=adapter[0])
            found = driver.read(answer.prompt_tokens)
            difference = (found - logits[str(index)]).abs().nan_to_num(nan=float("inf"))
            worst = max(worst, float(difference.max()))
            _check_tokens(adapter[0], driver, answer, [int(found.argmax())])
    if not worst <= TOLERANCE:
        raise VerificationError(
            f"coreml/{adapter[0]}: expected the logits of {reference} within {TOLERANCE}, found a "
            f"difference of {worst:.2e}; the static model computes something else, please report "
            "it with the model's config.json and adapter_config.json"
        )
    return worst


def _check_tokens(adapter: str, driver: StaticDriver, answer: Answer, found: list[int]) -> None:
    """Go on from the first token and compare the whole answer."""
    count = len(answer.tokens)
    if count > 1:
        found = found + driver.answer(found, count - 1)
    if found[:count] != answer.tokens:
        raise VerificationError(
            f"coreml/{adapter}: expected the answer {answer.tokens} to {answer.prompt!r}, found "
            f"{found}; the static model computes something else"
        )
