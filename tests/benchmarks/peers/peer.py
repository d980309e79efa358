"""What the processes that measure a peer share; standard library only.

A peer's process gets one JSON document, `Task`, as its argument, and prints one
JSON document: `load_s`, `memory` before and after, and a list of `runs`.
"""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FIELDS = {"rss": "Rss", "pss": "Pss", "anon": "Anonymous"}


@dataclass(frozen=True)
class Prompt:
    """A text, how many tokens it has, and how many are to be generated."""

    text: str
    tokens: int
    new_tokens: int


@dataclass(frozen=True)
class Run:
    """How one prompt went, in seconds."""

    prefill_s: float
    first_token_s: float
    """From the start of the prefill to the first token."""
    decode_s: float
    """From the first token to the last."""


@dataclass(frozen=True)
class Task:
    """What to load and to answer; the first prompt only warms up."""

    files: dict[str, str]
    threads: int
    context: int
    prompts: list[Prompt]


def measure(serve: Callable[[Task], tuple[Callable[[Prompt], Run], float]]) -> None:
    """Load what the task names with `serve`, answer its prompts, print what was measured."""
    document = json.loads(sys.argv[1])
    prompts = [Prompt(**prompt) for prompt in document.pop("prompts")]
    task = Task(**document, prompts=prompts)
    before = memory()
    answer, load_s = serve(task)
    runs = [asdict(answer(prompt)) for prompt in task.prompts]
    result = {"load_s": load_s, "before": before, "memory": memory(), "runs": runs[1:]}
    # On a line of its own behind whatever the peer has printed.
    print("\n" + json.dumps(result))


def memory() -> dict[str, int]:
    """Bytes of this process by kind, as the kernel counts them."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return {name: _kibibytes(text, field) << 10 for name, field in FIELDS.items()}


def expect(what: str, expected: Any, found: Any) -> None:
    """End the process if a peer did not do what it was asked for."""
    if expected != found:
        raise SystemExit(f"{what}: expected {expected}, found {found}")


def _kibibytes(text: str, field: str) -> int:
    match = re.search(rf"^{field}: +(\d+) kB$", text, re.MULTILINE)
    if match is None:
        raise SystemExit(f"/proc/self/smaps_rollup: expected the field {field}, found none")
    return int(match[1])
