"""Measures the runner's speed beside its peers', in one run, and prints Markdown tables.

    make benchmarks

Peers are ExecuTorch's `TextLLMRunner` on the same program and llama.cpp on the
same weights. The first needs a built workspace alone (`make demo`), the second
also a Python that has llama-cpp-python: `--llama-cpp` says which, and without
one its rows are left out with a note that says how to make it.

Every measurement is a process of its own with a first prompt that only warms
up; the engines take turns, and each number is the median of the turns. Prompts
and answers repeat the same few words, so that no engine ends an answer early. Memory is the
process's after all prompts; what a peer's had before it loaded anything (Python and, for
`TextLLMRunner`, torch) is told beside it and also taken away.
"""

import argparse
import dataclasses
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bandwidth import Bandwidth
from engines import Engine, LlamaCpp, Measured, Runner, TextLlmRunner
from measure import MIB, begin, show, table
from peers.peer import Prompt
from programs import SCHEMES, Program, build_program, find_params

import ptefoundry
from ptefoundry.base.config import ModelConfig, load_config
from ptefoundry.workspace import cache_folder

CONTEXT = 2304
WARM_UP, SHORT, LONG = 32, 128, 2048
PREFILL = 512
NEW_TOKENS = 32
WORDS = " one two three four five six seven eight"
LLAMA_CPP = cache_folder() / "benchmarks/llama-cpp/bin/python"
REQUIREMENTS = Path(__file__).with_name("requirements-llama-cpp.txt")
LLAMA_CPP_TYPES = {"fp32": "F32", "8da4w": "Q4_0"}


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path(ptefoundry.__file__).parents[1])
    parser.add_argument("--llama-cpp", type=Path, default=LLAMA_CPP, metavar="PYTHON")
    parser.add_argument("--schemes", nargs="+", choices=SCHEMES, default=list(SCHEMES))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    os.chdir(arguments.workspace.resolve())
    begin()
    with tempfile.TemporaryDirectory(dir="artifacts") as name:
        folder = Path(name).resolve()
        programs = _programs(arguments.schemes, folder)
        engines = _engines(programs, arguments.llama_cpp.absolute(), folder)
        bandwidth = Bandwidth(folder, arguments.threads)
        measured: list[list[Measured]] = [[] for _ in engines]
        for _ in range(arguments.repeats):
            bandwidth.measure()
            for engine, turns in zip(engines, measured, strict=True):
                turns.append(engine.measure(_prompts(), arguments.threads, CONTEXT))
    results = dict(zip(engines, map(_median, measured), strict=True))
    turns = f"medians of {arguments.repeats}"
    show(_speed(results, f"{arguments.threads} threads, context {CONTEXT}, {turns}"))
    show(_ratios(results))
    show(_memory(results))
    config = load_config(Path("artifacts/base/canonical/config.json"))
    show(_bound(results, bandwidth, config))


def _prompts() -> list[Prompt]:
    """The first one warms up; decoding is measured after the others with more than one token."""
    lengths = {WARM_UP: 8, SHORT: NEW_TOKENS, PREFILL: 1, LONG: NEW_TOKENS}
    prompts = [_prompt(WARM_UP, lengths[WARM_UP])]
    return prompts + [_prompt(tokens, new) for tokens, new in lengths.items()]


def _prompt(tokens: int, new_tokens: int) -> Prompt:
    words = WORDS.split()
    text = "".join(f" {words[i % len(words)]}" for i in range(tokens))
    return Prompt(text=text, tokens=tokens, new_tokens=new_tokens)


def _programs(schemes: Sequence[str], folder: Path) -> list[Program]:
    programs = []
    for scheme in schemes:
        params = find_params(scheme, CONTEXT)
        if params is None:
            print(f"Left out: {scheme}, whose parameters this ptefoundry does not know.\n")
        else:
            programs.append(build_program(scheme, params, folder / scheme))
    return programs


def _engines(programs: Sequence[Program], llama_cpp: Path, folder: Path) -> list[Engine]:
    engines: list[Engine] = []
    models = list(Path("artifacts/base/fetched").glob("*.gguf"))
    if not llama_cpp.is_file():
        venv = llama_cpp.parents[1]
        print(
            f"Left out: llama.cpp, for which there is no {llama_cpp}. To make it:\n\n"
            f"    python -m venv {venv}\n"
            f"    {llama_cpp} -m pip install --require-hashes -r {REQUIREMENTS}\n"
        )
    elif not models:
        print("Left out: llama.cpp, since the base was not fetched as a GGUF file.\n")
    for program in programs:
        engines += [Runner(program), TextLlmRunner(program)]
        if llama_cpp.is_file() and models:
            kind = LLAMA_CPP_TYPES[program.scheme]
            engines.append(LlamaCpp(program.scheme, llama_cpp, models[0], kind, folder))
    return engines


def _median(turns: Sequence[Measured]) -> Measured:
    """Medians of each number on its own."""

    def of(values: Sequence[float]) -> float:
        return statistics.median(values)

    fields = dataclasses.fields(Measured)
    names = [field.name for field in fields if field.type is float]
    medians = {name: of([getattr(turn, name) for turn in turns]) for name in names}
    runs = {
        tokens: dataclasses.replace(
            run,
            **{
                field.name: of([getattr(turn.runs[tokens], field.name) for turn in turns])
                for field in dataclasses.fields(run)
            },
        )
        for tokens, run in turns[0].runs.items()
    }
    return Measured(runs=runs, weights=turns[0].weights, **medians)


def _rates(measured: Measured) -> dict[str, float]:
    """What is compared, by heading; more is better."""
    runs = measured.runs
    return {
        f"decode at {SHORT}": (NEW_TOKENS - 1) / runs[SHORT].decode_s,
        f"decode at {LONG}": (NEW_TOKENS - 1) / runs[LONG].decode_s,
        f"prefill of {PREFILL}": PREFILL / runs[PREFILL].prefill_s,
        f"first token of {WARM_UP}": 1 / runs[WARM_UP].first_token_s,
        f"first token of {PREFILL}": 1 / runs[PREFILL].first_token_s,
    }


def _speed(results: dict[Engine, Measured], how: str) -> str:
    rows = []
    for engine, measured in results.items():
        short, long, prefill, *firsts = _rates(measured).values()
        shown = [f"{short:.1f}", f"{long:.1f}", f"{prefill:.0f}"]
        shown += [f"{1 / rate:.3f}" for rate in firsts]
        rows.append([engine.name, *shown, f"{measured.load_s:.2f}"])
    header = [
        *("engine", f"decode tok/s at {SHORT}", f"decode tok/s at {LONG}"),
        *(f"prefill tok/s of {PREFILL}", f"to the first token of {WARM_UP}, s"),
        *(f"to the first token of {PREFILL}, s", "load, s"),
    ]
    return table(f"Speed beside peers, {how}", header, rows)


def _ratios(results: dict[Engine, Measured]) -> str:
    rows = []
    for engine, measured in results.items():
        ours = next(e for e in results if isinstance(e, Runner) and e.scheme == engine.scheme)
        if engine is ours:
            continue
        mine, theirs = results[ours], _rates(measured)
        speed = [f"{rate / theirs[name]:.2f}" for name, rate in _rates(mine).items()]
        memory = [
            f"{mine_bytes / their_bytes:.2f}"
            for mine_bytes, their_bytes in zip(_kinds(mine), _kinds(measured), strict=True)
        ]
        rows.append([engine.name, *speed, *memory])
    header = ["against", *_rates(next(iter(results.values()))), *_KINDS]
    return table("The runner's speed (above 1: faster) and memory as ratios", header, rows)


_KINDS = ("RSS", "PSS", "anonymous", "RSS above that before loading")


def _kinds(measured: Measured) -> list[float]:
    """Bytes of each kind. The runner counts in full: it has no "before loading"."""
    above = measured.rss - measured.rss_before
    return [measured.rss, measured.pss, measured.anon, above]


def _memory(results: dict[Engine, Measured]) -> str:
    rows = [
        [engine.name, *(f"{size / MIB:.0f}" for size in [*_kinds(one), one.rss_before])]
        for engine, one in results.items()
    ]
    header = [*(f"{kind}, MiB" for kind in _KINDS), "RSS before loading, MiB"]
    return table("Memory after all prompts", ["engine", *header], rows)


def _bound(results: dict[Engine, Measured], bandwidth: Bandwidth, config: ModelConfig) -> str:
    """Decoding against reading what a token needs once: weights, and keys and values."""
    rows = []
    for engine, measured in results.items():
        weights = measured.weights
        if weights is None:
            continue
        for tokens in (SHORT, LONG):
            cached = tokens + NEW_TOKENS // 2
            past = 2 * 4 * config.n_layers * config.n_kv_heads * config.head_dim * cached
            speed = (NEW_TOKENS - 1) / measured.runs[tokens].decode_s
            weights_bound = bandwidth.median / weights
            bound = bandwidth.median / (weights + past)
            rows.append(
                [
                    *(engine.name, str(tokens), f"{weights / 1e6:.0f}"),
                    *(f"{past / 1e6:.0f}", f"{weights_bound:.1f}", f"{bound:.1f}", f"{speed:.1f}"),
                    *(f"{speed / weights_bound:.0%}", f"{speed / bound:.0%}"),
                ]
            )
    header = [
        *("engine", "context", "weights, MB", "keys and values, MB"),
        *("bound by weights, tok/s", "bound by both, tok/s", "measured, tok/s"),
        *("of the weights' bound", "of both"),
    ]
    title = f"Decoding beside reading memory ({bandwidth.median / 1e9:.1f} GB/s)"
    return table(title, header, rows)


if __name__ == "__main__":
    main()
