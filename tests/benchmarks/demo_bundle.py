"""Measures the demo bundle and prints Markdown tables for docs/benchmarks.md.

    make benchmarks

Needs a built workspace (`make demo`). Everything is measured in one run on one
machine, and each table compares ways of doing the same thing: sharing on and
off, one to three programs. Memory is what the kernel reports of the runner's
process (smaps_rollup); times are medians of `REPEATS` processes.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import MIB, machine, output, table, timed
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
    print(machine(root))
    print(_sizes(root))
    print(_sharing(root))
    print(_processes(root))
    print(_commands())


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
    return table(f"Programs in one process ({NEW_TOKENS} tokens each)", header, rows)


def _processes(root: Path) -> str:
    """Processes side by side over one packed file, and what a switch takes."""
    bundle = root / "artifacts/bundle"
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        cold = _serve(bundle, cache)
        build = cold.ready["packed_cache"]["build_s"]
        servers: list[RunnerProcess] = []
        for label in ("alone", "beside another"):
            servers.append(cold if not servers else _serve(bundle, cache))
            for server in servers:
                server.ask(prompt=PROMPT, max_new_tokens=NEW_TOKENS)
            for server in servers:
                memory = server.ask(op="stats")["memory"]
                values = (f"{memory[kind] / MIB:.0f}" for kind in ("rss", "pss", "anon"))
                rows.append([label, *values])
        switches = []
        for adapter in sorted(_manifest(bundle)["adapters"]):
            answer = servers[-1].ask(prompt=PROMPT, adapter=adapter, max_new_tokens=1)
            switches.append([adapter, f"{answer['load_s']:.3f}", f"{answer['ttft_s']:.3f}"])
        for server in servers:
            server.quit()
    header = ["process", "RSS, MiB", "PSS, MiB", "anonymous, MiB"]
    title = f"Processes side by side, base program (packed once in {build:.1f} s)"
    second = ["cold adapter", "load, s", f"then to the first token of {PROMPT!r}, s"]
    return table(title, header, rows) + "\n" + table("Switching", second, switches)


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
    rows = []
    for label, command in (
        ("`ptefoundry --help`", ["ptefoundry", "--help"]),
        ("`python -c pass`, for comparison", [sys.executable, "-c", "pass"]),
        ("`ptefoundry build`, nothing to do", ["ptefoundry", "build"]),
        ("`dvc repro`, nothing to do", ["dvc", "repro"]),
    ):
        seconds = statistics.median(timed(command)[0] for _ in range(REPEATS))
        rows.append([label, f"{seconds:.2f}"])
    return table("Commands", ["command", "seconds"], rows)


if __name__ == "__main__":
    main()
