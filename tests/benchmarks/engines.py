"""What the speed benchmark measures: each engine answers the same prompts in a process."""

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from measure import output
from peers.peer import Prompt, Run, Task, expect
from programs import Program
from runner_process import RunnerProcess

PEERS = Path(__file__).with_name("peers")


@dataclass(frozen=True)
class Measured:
    """One process: seconds and bytes; `runs` by length of the prompt, without the first."""

    runs: dict[int, Run]
    load_s: float
    rss: float
    pss: float
    anon: float
    rss_before: float
    """Of the process before it loaded anything."""
    weights: int | None
    """Bytes of packed weights, which each token reads; None: not known."""


class Engine(Protocol):
    """Something that runs a model."""

    name: str
    scheme: str

    def measure(self, prompts: Sequence[Prompt], threads: int, context: int) -> Measured:
        """Answer prompts, the first of which only warms up, in a new process."""
        ...


class Runner:
    """ptefoundry-runner, with its packed weights in a file."""

    def __init__(self, program: Program) -> None:
        self.name, self.scheme = f"ptefoundry {program.scheme}", program.scheme
        self._program = program
        self._options: list[str | Path] = ["--program", program.program]
        self._options += ["--data", program.foundation, "--tokenizer", program.tokenizer]
        self._options += ["--packed-cache", program.program.parent / "packed"]

    def measure(self, prompts: Sequence[Prompt], threads: int, context: int) -> Measured:
        """See `Engine`; the first time it also packs, in an extra process."""
        if not (self._program.program.parent / "packed").is_dir():
            RunnerProcess(self._options).quit()
        start = time.perf_counter()
        process = RunnerProcess([*self._options, "--threads", str(threads)])
        load_s = time.perf_counter() - start
        (program,) = process.ready["adapters"]
        expect("context", context, program["context"])
        runs = {prompt.tokens: _answer(process, prompt) for prompt in prompts}
        memory = process.ask(op="stats")["memory"]
        weights = process.ready["packed_cache"]["bytes"]
        process.quit()
        return Measured(runs=runs, load_s=load_s, rss_before=0, weights=weights, **memory)


def _answer(process: RunnerProcess, prompt: Prompt) -> Run:
    record = process.ask(prompt=prompt.text, max_new_tokens=prompt.new_tokens, reuse=False)
    expect("tokens of the prompt", prompt.tokens, record["prefill_tokens"])
    expect("new tokens", prompt.new_tokens, len(record["tokens"]))
    return Run(**{field.name: record[_RECORD[field.name]] for field in dataclasses.fields(Run)})


_RECORD = {"prefill_s": "prefill_s", "first_token_s": "ttft_s", "decode_s": "decode_s"}


class TextLlmRunner:
    """ExecuTorch's own runner on the same program."""

    def __init__(self, program: Program) -> None:
        self.name, self.scheme = f"TextLLMRunner {program.scheme}", program.scheme
        self._files = {
            "program": str(program.program),
            "data": str(program.foundation),
            "tokenizer": str(program.tokenizer / "tokenizer.json"),
        }

    def measure(self, prompts: Sequence[Prompt], threads: int, context: int) -> Measured:
        """See `Engine`."""
        task = Task(self._files, threads, context, list(prompts))
        return _measure(Path(sys.executable), "text_llm_runner.py", task)


class LlamaCpp:
    """llama.cpp on the base's weights in one of its types."""

    def __init__(self, scheme: str, python: Path, model: Path, kind: str, folder: Path) -> None:
        """Write the weights of `model`, a GGUF file, in this type into a folder."""
        self.name, self.scheme = f"llama.cpp {kind}", scheme
        self._python, self._file = python, folder / f"{kind}.gguf"
        script = PEERS / "llama_cpp_peer.py"
        output([python, script, "--quantize", model.resolve(), self._file, kind])

    def measure(self, prompts: Sequence[Prompt], threads: int, context: int) -> Measured:
        """See `Engine`."""
        task = Task({"model": str(self._file)}, threads, context, list(prompts))
        return _measure(self._python, "llama_cpp_peer.py", task)


def _measure(python: Path, script: str, task: Task) -> Measured:
    """Run a peer's script; what it measured is its last line."""
    arguments = json.dumps(dataclasses.asdict(task))
    result = json.loads(output([python, PEERS / script, arguments]).splitlines()[-1])
    lengths = [prompt.tokens for prompt in task.prompts[1:]]
    runs = {tokens: Run(**run) for tokens, run in zip(lengths, result["runs"], strict=True)}
    return Measured(
        runs=runs,
        load_s=result["load_s"],
        rss_before=result["before"]["rss"],
        weights=None,
        **result["memory"],
    )
