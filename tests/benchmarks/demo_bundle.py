"""Measures the demo bundle and prints Markdown tables for docs/benchmarks.md.

    make benchmarks

Needs a built workspace (`make demo`). Everything is measured in one run on one
machine, and each table compares ways of doing the same thing: sharing on and
off, one to three programs. Memory is what the kernel reports of the runner's
process (smaps_rollup), so what runs beside it does not change it; it and times are medians
of `REPEATS` processes. Loads of further programs find the files in the machine's memory.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import MIB, begin, output, repeated, show, table
from runner_process import RUNNER, RunnerProcess

import ptefoundry

REPEATS = 3
PROMPT = "Who won the Nobel Prize in Physics in 2025?"
NEW_TOKENS = 64


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path(ptefoundry.__file__).parents[1])
    arguments = parser.parse_args()
    root = arguments.workspace.resolve()
    os.chdir(root)
    begin()
    show(_sizes(root))
    show(_sharing(root))
    _processes(root)
    show(_commands())


def _sizes(root: Path) -> str:
    bundle = root / "artifacts/bundle"
    manifest = json.loads((bundle / "manifest.json").read_text())
    rows = [
        [f"`{entry['path']}`", f"{entry['size']:,}"]
        for entry in manifest["files"]
        if entry["path"].endswith((".pte", ".ptd"))
    ]
    for name in sorted(manifest["adapters"]):
        size = (
            (root / f"artifacts/adapters/fetched/{name}/adapter_model.safetensors").stat().st_size
        )
        rows.append([f"`{name}` as PEFT's bf16 safetensors, for comparison", f"{size:,}"])
    return table("File sizes", ["file", "bytes"], rows)


def _sharing(root: Path) -> str:
    bundle = root / "artifacts/bundle"
    manifest = json.loads((bundle / "manifest.json").read_text())
    programs = [variant["program"] for variant in manifest["variants"]][:3]
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        kept = ["--packed-cache", cache]
        _run(bundle, programs[:1], kept)
        for label, options in (
            ("packed weights in a file", kept),
            ("packed weights in memory", ["--no-packed-cache"]),
            ("off", ["--no-weight-cache"]),
        ):
            for count in range(1, len(programs) + 1):
                runs = [_run(bundle, programs[:count], options) for _ in range(REPEATS)]
                rows.append([label, str(count), *_last_program(runs)])
    header = [
        *("sharing", "programs", "load of the last, s", "decode tok/s", "prefill tok/s"),
        *("RSS, MiB", "PSS, MiB", "anonymous, MiB"),
    ]
    title = f"Programs in one process ({NEW_TOKENS} tokens each, medians of {REPEATS})"
    return table(title, header, rows)


def _processes(root: Path) -> None:
    """Show processes side by side over one packed file, and what a switch takes."""
    bundle = root / "artifacts/bundle"
    rounds = [_side_by_side(bundle) for _ in range(REPEATS)]
    packing = statistics.median(each.packing_s for each in rounds)
    memory = _medians([each.memory for each in rounds])
    switches = _medians([each.switches for each in rounds])
    how = f"base program, packed once in {packing:.1f} s; medians of {REPEATS}"
    header = ["process", "RSS, MiB", "PSS, MiB", "anonymous, MiB"]
    rows = [[label, *(f"{size / MIB:.0f}" for size in sizes)] for label, sizes in memory.items()]
    show(table(f"Processes side by side ({how})", header, rows))
    header = ["cold adapter", "load, s", f"then to the first token of {PROMPT!r}, s"]
    rows = [[name, *(f"{seconds:.3f}" for seconds in times)] for name, times in switches.items()]
    show(table(f"Switching (medians of {REPEATS})", header, rows))


@dataclass(frozen=True)
class SideBySide:
    """Two processes over one packed file."""

    packing_s: float
    memory: dict[str, list[float]]
    """RSS, PSS and anonymous bytes of each process."""
    switches: dict[str, list[float]]
    """Seconds to load each adapter, and to its first token, in the second process."""


def _side_by_side(bundle: Path) -> SideBySide:
    with tempfile.TemporaryDirectory() as cache:
        first = _serve(bundle, cache)
        first.ask(prompt=PROMPT, max_new_tokens=NEW_TOKENS)
        memory = {"alone": _memory(first)}
        second = _serve(bundle, cache)
        for server in (first, second):
            server.ask(prompt=PROMPT, max_new_tokens=NEW_TOKENS)
        memory["the same beside another"] = _memory(first)
        memory["the other"] = _memory(second)
        switches = {}
        for adapter in sorted(_manifest(bundle)["adapters"]):
            answer = second.ask(prompt=PROMPT, adapter=adapter, max_new_tokens=1)
            switches[adapter] = [answer["load_s"], answer["ttft_s"]]
        for server in (first, second):
            server.quit()
    return SideBySide(first.ready["packed_cache"]["build_s"], memory, switches)


def _memory(server: RunnerProcess) -> list[float]:
    memory = server.ask(op="stats")["memory"]
    return [memory[kind] for kind in ("rss", "pss", "anon")]


def _medians(rounds: Sequence[dict[str, list[float]]]) -> dict[str, list[float]]:
    """Of each number on its own."""
    return {
        name: [statistics.median(values) for values in zip(*(r[name] for r in rounds), strict=True)]
        for name in rounds[0]
    }


def _serve(bundle: Path, cache: str) -> RunnerProcess:
    """A runner with the bundle's first program, and the others on demand."""
    first, *others = (bundle / variant["program"] for variant in _manifest(bundle)["variants"])
    options: list[str | Path] = ["--chat-template", "--packed-cache", cache, "--program", first]
    for program in others:
        options += ["--on-demand", program]
    options += ["--data", bundle / "xnnpack/foundation.ptd", "--tokenizer", bundle / "tokenizer"]
    return RunnerProcess(options)


def _manifest(bundle: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    return manifest


def _last_program(runs: list[list[dict[str, Any]]]) -> list[str]:
    def median(field: str) -> float:
        return statistics.median(run[-1][field] for run in runs)

    return [
        f"{median('load_s'):.2f}",
        f"{median('decode_tok_s'):.1f}",
        f"{median('prefill_tok_s'):.0f}",
        f"{median('rss_after_generate') / MIB:.0f}",
        f"{median('pss_after_generate') / MIB:.0f}",
        f"{median('anon_after_generate') / MIB:.0f}",
    ]


def _run(bundle: Path, programs: list[str], options: list[str]) -> list[dict[str, Any]]:
    command = [str(RUNNER), "--json", "--chat-template", *options]
    for program in programs:
        command += ["--program", str(bundle / program)]
    command += ["--data", str(bundle / "xnnpack/foundation.ptd")]
    command += ["--tokenizer", str(bundle / "tokenizer"), "--prompt", PROMPT]
    command += ["--max-new-tokens", str(NEW_TOKENS)]
    result: list[dict[str, Any]] = json.loads(output(command))["programs"]
    return result


def _commands() -> str:
    # So that there is nothing to do.
    output(["ptefoundry", "build"])
    rows = []
    for label, command in (
        ("`ptefoundry --help`", ["ptefoundry", "--help"]),
        ("`python -c pass`, for comparison", [sys.executable, "-c", "pass"]),
        ("`ptefoundry build`, nothing to do", ["ptefoundry", "build"]),
        ("`dvc repro`, nothing to do", ["dvc", "repro"]),
    ):
        seconds, _ = repeated(command, REPEATS)
        rows.append([label, f"{seconds:.2f}"])
    return table(f"Commands (medians of {REPEATS})", ["command", "seconds"], rows)


if __name__ == "__main__":
    main()
