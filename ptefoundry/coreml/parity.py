"""Proof that the static model computes what transformers and PEFT compute.

The model that is exported runs in PyTorch, in fp32 and not quantized, with the lengths,
splits and caches of the program: prompts in pieces, then token by token. What Core ML makes of
fp16 and of quantized weights can only be seen on Apple's systems.
"""

import dataclasses
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
        VerificationError: logits or tokens differ.
        ConfigError: a prompt and its answer are longer than the context.
    """
    from safetensors.torch import load_file

    exact = dataclasses.replace(params, dtype="fp32", embedding="none", linear="none")
    expected, logits = load_answers(reference), load_file(reference / LOGITS_FILE)
    model, worst = prepare_model(base, exact), 0.0
    with eager_program(model, base, adapter, exact) as eager:
        for index, answer in enumerate(expected.answers):
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
    parity = StaticParity(
        prefill_logits=worst,
        equal_tokens=sum(len(answer.tokens) for answer in expected.answers),
        program_sha256=hash_file(program),
        program_bytes=program.stat().st_size,
    )
    write_json(into, asdict(parity))


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
