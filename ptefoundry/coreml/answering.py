"""Answers of a CoreML program in ExecuTorch's runtime, as an app gets them.

Core ML is part of Apple's systems, and so is what ExecuTorch's delegate needs. The same
methods without a delegate run everywhere, which tests make use of.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.coreml.driver import Call, Constants, StaticDriver
from ptefoundry.coreml.packages import check_packages
from ptefoundry.coreml.units import with_units
from ptefoundry.errors import ArtifactError, ConfigError, MissingToolError
from ptefoundry.lowering.pte import Program, read_pte
from ptefoundry.model.parity import encode_prompt

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """An answer and what it took."""

    adapter: str
    prompt: str
    prompt_tokens: int
    tokens: list[int]
    text: str
    prefill_s: float
    decode_s: float
    """Of all tokens but the first."""


def answer_prompts(
    program: Path,
    tokenizer: Path,
    adapters: Sequence[str],
    prompts: Sequence[str],
    *,
    max_new_tokens: int | None = None,
    raw: bool = False,
    units: str | None = None,
) -> Iterator[Spoken]:
    """Answer prompts with adapters of one program, which is loaded once.

    Args:
        program: the `.pte`.
        tokenizer: folder with `tokenizer.json` and `chat.json`.
        adapters: names, `base` for the base alone.
        prompts: each is answered by each adapter, from an empty context, greedily.
        max_new_tokens: most tokens of an answer; None: as many as the context has room for.
        raw: leave out the chat template.
        units: where it runs, as `compute_units` in params.yaml; None: as it was built.

    Raises:
        ConfigError: the program has no such adapter or cannot be told these units, or a
            prompt is too long.
        ArtifactError: the program or tokenizer is damaged.
        MissingToolError: ExecuTorch, or a backend that the program needs, is missing here.
    """
    check_packages("executorch", "tokenizers")
    from tokenizers import Tokenizer

    chat = read_chat(tokenizer)
    words = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    template = chat | {"first": None} if raw else chat
    with loaded_program(program, units) as (constants, call):
        for adapter in adapters:
            for prompt in prompts:
                driver = StaticDriver(constants, call, adapter=adapter)
                ids = encode_prompt(tokenizer, template, prompt)
                room = driver.context - len(ids)
                if room < 1:
                    raise ConfigError(
                        f"--prompt: expected less than the context of {driver.context} tokens, "
                        f"found {len(ids)}"
                    )
                wanted = ids, min(room, max_new_tokens or room), chat["eos_token_ids"]
                yield _speak(driver, adapter, prompt, wanted, words.decode)


@contextmanager
def loaded_program(program: Path, units: str | None = None) -> Iterator[tuple[Constants, Call]]:
    """A program's metadata and what computes its methods, for `StaticDriver`.

    Args:
        program: the `.pte`.
        units: where it runs, as `compute_units` in params.yaml; None: as it was built.

    Raises:
        ConfigError: the program cannot be told these units.
        ArtifactError: it is damaged.
        MissingToolError: this system has no backend that the program needs.
    """
    content = read_pte(program)
    with with_units(program, units) as path:
        yield content.constants, runtime_call(dataclasses.replace(content, path=path))


def runtime_call(program: Program) -> Call:
    """What computes a program's methods in ExecuTorch's runtime; each is loaded when called.

    Raises:
        MissingToolError: ExecuTorch, or a backend that the program needs, is missing here.
    """
    check_packages("executorch")
    from executorch.runtime import Runtime

    runtime = Runtime.get()
    for backend in sorted({one.backend for way in program.methods for one in way.delegates}):
        if not runtime.backend_registry.is_available(backend):
            raise MissingToolError(
                f"{program.path}: expected ExecuTorch's {backend}, found "
                f"{', '.join(runtime.backend_registry.registered_backend_names)}; Core ML runs on "
                "Apple's systems alone: run it on a Mac, with the locked requirements"
            )
    loaded, methods = runtime.load_program(program.path), dict[str, Any]()

    def call(name: str, inputs: "list[torch.Tensor]") -> "list[torch.Tensor]":
        if name not in methods:
            methods[name] = loaded.load_method(name)
        # The runtime's own buffers, which the next call overwrites.
        return [output.clone() for output in methods[name].execute(inputs)]

    return call


def _speak(
    driver: StaticDriver,
    adapter: str,
    prompt: str,
    wanted: tuple[list[int], int, list[int]],
    decode: Callable[[list[int]], str],
) -> Spoken:
    ids, count, eos_ids = wanted
    start = time.perf_counter()
    tokens = [int(driver.read(ids).argmax())]
    first = time.perf_counter()
    if tokens[0] not in eos_ids and count > 1:
        tokens += driver.answer(tokens, count - 1, eos_ids)
    return Spoken(
        adapter=adapter,
        prompt=prompt,
        prompt_tokens=len(ids),
        tokens=tokens,
        text=decode([token for token in tokens if token not in eos_ids]),
        prefill_s=first - start,
        decode_s=time.perf_counter() - first,
    )


def read_chat(tokenizer: Path) -> dict[str, Any]:
    """A bundle's chat format.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    path = tokenizer / "chat.json"
    try:
        chat: dict[str, Any] = json.loads(path.read_text())
        if {"first", "trim_user", "eos_token_ids"} <= chat.keys():
            return chat
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: expected the bundle's chat format ({error}); build or pull it again"
        ) from error
    raise ArtifactError(
        f"{path}: expected first, trim_user and eos_token_ids, found {', '.join(sorted(chat))}; "
        "build or pull the bundle again"
    )
