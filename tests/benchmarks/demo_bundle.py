"""Measures the demo bundle and prints Markdown tables for docs/benchmarks.md.

    make benchmarks

Needs a built workspace (`make demo`). Everything is measured in one run on one
machine, and each table compares ways of doing the same thing: sharing on and
off, one to three programs. Memory is what the kernel reports of the runner's
process (smaps_rollup); times are medians of `REPEATS` processes.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ptefoundry
from ptefoundry.toolchain import current_toolchain

REPEATS = 3
PROMPT = "Who won the Nobel Prize in Physics in 2025?"
NEW_TOKENS = 64
MIB = 1 << 20


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path(ptefoundry.__file__).parents[1])
    parser.add_argument("--no-compile", action="store_true", help="leave out the slow part")
    arguments = parser.parse_args()
    root = arguments.workspace.resolve()
    os.chdir(root)
    print(_machine(root))
    print(_sizes(root))
    print(_building(root))
    if not arguments.no_compile:
        print(_compiling())
    print(_sharing(root))
    print(_commands())


def _machine(root: Path) -> str:
    facts = current_toolchain()
    commit = _output(["git", "rev-parse", "--short", "HEAD"], cwd=root).strip()
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{datetime.datetime.now(tz=datetime.UTC).date()}, commit {commit}, {cpu}, "
        f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, "
        f"torch {facts['compile']['torch']}, executorch {facts['compile']['executorch']}, "
        f"{facts['runner']['compiler']}\n"
    )


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
    return _table("File sizes", ["file", "bytes"], rows)


def _building(root: Path) -> str:
    """Stages outside of DVC, so that nothing is restored from a cache."""
    artifacts = root / "artifacts"
    foundation = artifacts / "foundation/xnnpack"
    rows = []
    with tempfile.TemporaryDirectory(dir=artifacts) as name:
        stages = {"foundation and base program": _stage("foundation", f"{name}/foundation", root)}
        for adapter in _adapters(root):
            into = f"{name}/{adapter}.pte"
            stages[f"link of `{adapter}`"] = _stage("link", into, root, adapter)
        data = foundation / "foundation.ptd"
        others = {
            "`cp` of the foundation, for comparison": ["cp", str(data), f"{name}/copy"],
            "`sha256sum` of a linked program": [
                *("sha256sum", str(artifacts / f"link/xnnpack/{_adapters(root)[0]}.pte"))
            ],
        }
        for label, command in (stages | others).items():
            runs = [_timed(command) for _ in range(REPEATS)]
            seconds = statistics.median(seconds for seconds, _ in runs)
            peak = max(peak for _, peak in runs)
            rows.append([label, f"{seconds:.2f}", f"{peak / MIB:,.0f}"])
        seconds = _link_many(root, Path(name), 100)
        rows.append(["each of 100 links in one process", f"{seconds:.3f}", ""])
    return _table("Linking", ["what", "seconds", "peak RSS, MiB"], rows)


def _stage(stage: str, into: str, root: Path, adapter: str | None = None) -> list[str]:
    command = [sys.executable, "-m", f"ptefoundry.stages.{stage}", "--into", into]
    command += ["--templates", "artifacts/compile/xnnpack"]
    if adapter is None:
        return [*command, "--base", "artifacts/base/canonical"]
    command += ["--adapter", f"artifacts/adapters/canonical/{adapter}"]
    return [*command, "--foundation", "artifacts/foundation/xnnpack"]


def _adapters(root: Path) -> list[str]:
    manifest = json.loads((root / "artifacts/bundle/manifest.json").read_text())
    return sorted(manifest["adapters"])


def _link_many(root: Path, folder: Path, count: int) -> float:
    """Seconds of one link, where one linker makes many."""
    from ptefoundry.adapter.convert import load_adapter
    from ptefoundry.lowering.foundation import load_foundation
    from ptefoundry.lowering.link import Linker
    from ptefoundry.lowering.template import load_template, template_name

    artifacts = root / "artifacts"
    adapter = load_adapter(artifacts / "adapters/canonical" / _adapters(root)[0])
    template = load_template(artifacts / "compile/xnnpack" / template_name(adapter.modules))
    linker = Linker(template, load_foundation(artifacts / "foundation/xnnpack"))
    start = time.perf_counter()
    for number in range(count):
        linker.link(adapter, folder / f"{number}.pte")
    return (time.perf_counter() - start) / count


def _compiling() -> str:
    """A fresh compilation of every template, which must give the same bytes."""
    seconds, peak = _timed(["ptefoundry", "template", "verify"])
    rows = [["all templates", f"{seconds:.0f}", f"{peak / MIB:,.0f}"]]
    return _table("Compiling", ["what", "seconds", "peak RSS, MiB"], rows)


def _sharing(root: Path) -> str:
    bundle = root / "artifacts/bundle"
    manifest = json.loads((bundle / "manifest.json").read_text())
    programs = [variant["program"] for variant in manifest["variants"]][:3]
    rows = []
    for label, options in (("on", []), ("off", ["--no-weight-cache"])):
        for count in range(1, len(programs) + 1):
            runs = [_run(bundle, programs[:count], options) for _ in range(REPEATS)]
            rows.append([label, str(count), *_last_program(runs)])
    header = [
        *("sharing", "programs", "load of the last, s", "decode tok/s", "prefill tok/s"),
        *("RSS, MiB", "PSS, MiB", "anonymous, MiB"),
    ]
    return _table(f"Programs in one process ({NEW_TOKENS} tokens each)", header, rows)


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
    command = ["artifacts/runner/bin/ptefoundry-runner", "--json", "--chat-template", *options]
    for program in programs:
        command += ["--program", str(bundle / program)]
    command += ["--data", str(bundle / "xnnpack/foundation.ptd")]
    command += ["--tokenizer", str(bundle / "tokenizer"), "--prompt", PROMPT]
    command += ["--max-new-tokens", str(NEW_TOKENS)]
    result: list[dict[str, Any]] = json.loads(_output(command))["programs"]
    return result


def _commands() -> str:
    rows = []
    for label, command in (
        ("`ptefoundry --help`", ["ptefoundry", "--help"]),
        ("`python -c pass`, for comparison", [sys.executable, "-c", "pass"]),
        ("`ptefoundry build`, nothing to do", ["ptefoundry", "build"]),
        ("`dvc repro`, nothing to do", ["dvc", "repro"]),
    ):
        seconds = statistics.median(_timed(command)[0] for _ in range(REPEATS))
        rows.append([label, f"{seconds:.2f}"])
    return _table("Commands", ["command", "seconds"], rows)


def _timed(command: list[str]) -> tuple[float, int]:
    """Seconds and peak RSS in bytes of a command that must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed; run `make demo` first")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def _output(command: list[str], cwd: Path | None = None) -> str:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


def _table(title: str, header: list[str], rows: list[list[str]]) -> str:
    lines = [f"### {title}", "", "| " + " | ".join(header) + " |"]
    lines.append("|" + "---|" * len(header))
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
