"""Proof that fp16 is enough for a base: the static model with all of its arithmetic in fp16.

Programs in fp16 compute every operator in it, those that PyTorch computes in fp32 as well.
Where numbers of a model are beyond fp16 or cancel each other, its program says other
things, and only a Mac would tell; so the same arithmetic runs here, before it is shipped.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ptefoundry.coreml.driver import StaticDriver
from ptefoundry.coreml.eager import eager_program
from ptefoundry.coreml.gaps import GAPS, prepare_plain, token_gaps
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.errors import VerificationError

if TYPE_CHECKING:
    from ptefoundry.model.parity import Answer


def prove_half(
    base: Path,
    adapter: tuple[str, Path | None],
    answers: "Sequence[Answer]",
    params: CoremlParams,
) -> float:
    """Compare the tokens that fp16 says with the exact model, along given answers.

    Args:
        base: canonical folder.
        adapter: name and canonical folder of the adapter; `base` and None for none.
        answers: prompts, and the tokens that are read after them.
        params: the backend's options, with fp16.

    Returns:
        Largest distance of the exact logit of a token that fp16 says from the largest one.

    Raises:
        VerificationError: fp16 says a token that is not among the likeliest.
    """
    model = prepare_plain(base, params)
    with eager_program(model, base, adapter, params) as half:

        def call(method: str, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
            with _AllHalf():
                return half.call(method, inputs)

        said = [
            _say(StaticDriver(half.constants, call, adapter=adapter[0]), adapter[0], answer)
            for answer in answers
        ]
    worst, wide = 0.0, dataclasses.replace(params, dtype="fp32")
    with eager_program(model.float(), base, adapter, wide) as exact:
        for answer, tokens in zip(answers, said, strict=True):
            driver = StaticDriver(exact.constants, exact.call, adapter=adapter[0])
            gaps = token_gaps(driver, answer.prompt_tokens, answer.tokens, tokens)
            worst = max(worst, *gaps)
    if not worst <= GAPS["fp16"]:
        raise _not_enough(
            adapter[0],
            f"a token whose exact logit is {worst:.3g} less than the largest; expected at most "
            f"{GAPS['fp16']}",
        )
    return worst


class _AllHalf(TorchDispatchMode):
    """Takes no steps to fp32, as the converted program has none."""

    def __torch_dispatch__(
        self,
        function: Any,
        _types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if function is torch.ops.aten._to_copy.default and options.get("dtype") == torch.float32:
            options["dtype"] = torch.float16
        return function(*args, **options)


def _say(driver: StaticDriver, adapter: str, answer: "Answer") -> list[int]:
    """The likeliest token at each place of an answer."""
    said, pending = [], list(answer.prompt_tokens)
    for token in answer.tokens:
        logits = driver.read(pending)
        if not logits.isfinite().all():
            raise _not_enough(adapter, "logits that are no numbers, as something is beyond it")
        said.append(int(logits.argmax()))
        pending = [token]
    return said


def _not_enough(adapter: str, found: str) -> VerificationError:
    return VerificationError(
        f"coreml/{adapter}: expected that fp16 says what the model says, found {found}. Numbers "
        "of this model are not for fp16: set backends.coreml.dtype: fp32 in params.yaml"
    )
