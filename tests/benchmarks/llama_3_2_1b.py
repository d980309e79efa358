"""The ExecuTorch LoRA demo's own table, at its own scale, and prints it as Markdown.

    python tests/benchmarks/llama_3_2_1b.py --folder DIR [--adapters N] [--rounds N] [OPTION]

A random checkpoint of Llama-3.2-1B's shapes (bf16) and rank-16 adapters on all seven
linears (fp32) go through the whole pipeline: `init`, `adapter add`, `build` with its
references and smoke runs, and the runner with all adapters, each loaded and run before the
next. The build is measured once, stages that are already built in DIR are not measured; the
runner and writing the foundation, beside `cp` and `sha256sum` of it, so many times as there are
rounds. The other column is what the demo's README prints of the real weights on its machine.

Takes some 12 minutes for the build with three adapters on two cores, 11 GiB of memory and 45 GB
of disk in DIR, and two minutes and a half for each round. `--programs-only` leaves references,
smoke runs and the bundle out, which take most of it, and the build's table. DIR can be used
again: what is built stays, further adapters are added.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from foundation_writing import compare_foundation
from llama_shapes import make_adapter, make_base
from measure import MIB, begin, output, show, table
from runner_process import RUNNER, RunnerProcess
from stage_memory import stage_table

from ptefoundry.native import runner_program
from ptefoundry.params import load_params

ADAPTERS = ("first", "second", "third", "fourth", "fifth", "sixth")
NEW_TOKENS = 64
PROGRAMS = Path("artifacts/link/xnnpack")
FOUNDATION = Path("artifacts/foundation/xnnpack/foundation.ptd")
TITLE = "Llama-3.2-1B's shapes"

DEMO_FOUNDATION, DEMO_PROGRAM = 5_994_013_600, 45_555_712
DEMO_RSS_MIB = {"first": 6941.3, "second": 8041.6}
"""What the demo's listing and log say: bytes, and RSS after each adapter's prefill."""

Answers = list[dict[str, Any]]
"""The answer of each adapter, with the process's memory after it."""


def main() -> None:
    """Build everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="made if missing")
    parser.add_argument("--adapters", type=int, default=3, choices=range(2, len(ADAPTERS) + 1))
    parser.add_argument("--rounds", type=int, default=3, help="of what is measured after the build")
    parser.add_argument("--programs-only", action="store_true", help="do not prove them")
    arguments = parser.parse_args()
    folder, names = arguments.folder.resolve(), ADAPTERS[: arguments.adapters]
    begin()
    root = _prepare(folder, names)
    if arguments.programs_only:
        stages = ["build-runner", *(f"link@xnnpack-{name}" for name in names)]
        only = [word for stage in stages for word in ("--only", stage)]
        output(["ptefoundry", "build", *only], cwd=root)
    else:
        show(_build(root))
    rounds = [_answers(root, names) for _ in range(1 + arguments.rounds)]
    # The first one packs the weights.
    show(_comparison(root, folder, names, rounds[1:]))
    show(compare_foundation(root, folder / "copies", arguments.rounds, TITLE))


def _prepare(folder: Path, names: Sequence[str]) -> Path:
    """Make what is missing; returns the workspace."""
    if not (folder / "base" / "tokenizer_config.json").exists():
        make_base(folder / "base")
    root = folder / "workspace"
    if not root.exists():
        _make_workspace(folder, root)
    for seed, name in enumerate(names, start=1):
        if not (folder / name / "adapter_config.json").exists():
            make_adapter(folder / name, seed)
        if name not in load_params(root).adapters:
            output(["ptefoundry", "adapter", "add", name, str(folder / name)], cwd=root)
    return root


def _make_workspace(folder: Path, root: Path) -> None:
    making = folder / "workspace.making"
    shutil.rmtree(making, ignore_errors=True)
    command = ["ptefoundry", "init", str(making), "--name", "demo", "--base", str(folder / "base")]
    output([*command, "--base-name", "random/Llama-3.2-1B", "--context-length", "2048"])
    making.rename(root)


def _build(root: Path) -> str:
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    stages = json.loads(output(["ptefoundry", "build", "--json"], cwd=root))["stages"]
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    text = stage_table(f"{TITLE}: the build (once)", stages, seconds)
    return f"{text}\nThe build took {cpu_s:.0f} s of CPU time.\n"


def _answers(root: Path, names: Sequence[str]) -> Answers:
    """What a runner reports of each adapter, each loaded and run before the next."""
    programs = [root / PROGRAMS / f"{name}.pte" for name in names]
    options: list[str | Path] = ["--tokenizer", root / "artifacts/base/canonical/tokenizer"]
    options += ["--data", root / FOUNDATION]
    options += ["--packed-cache", root.parent / "packed", "--program", programs[0]]
    for program in programs[1:]:
        options += ["--on-demand", program]
    runner = RunnerProcess(options, runner_program(root / RUNNER.parents[1]))
    results = []
    for name in names:
        answer = runner.ask(prompt="Hello", adapter=name, max_new_tokens=NEW_TOKENS)
        results.append({**answer, **runner.ask(op="stats")["memory"]})
    runner.quit()
    return results


def _comparison(root: Path, folder: Path, names: Sequence[str], rounds: Sequence[Answers]) -> str:
    foundation, program = root / FOUNDATION, root / PROGRAMS / f"{names[0]}.pte"
    safetensors = folder / names[0] / "adapter_model.safetensors"
    rows = [
        _row("`foundation.ptd`, bytes", DEMO_FOUNDATION, foundation.stat().st_size),
        _row("adapter program, bytes", DEMO_PROGRAM, program.stat().st_size),
        _row("adapter as safetensors, bytes", None, safetensors.stat().st_size),
    ]
    for name, records in zip(names, _by_adapter(rounds), strict=True):
        rss = _median_mib(records, "rss")
        rows.append(_row(f"RSS after the {name} adapter, MiB", DEMO_RSS_MIB.get(name), rss))
    for name, (before, after) in zip(names[1:], pairwise(_by_adapter(rounds)), strict=True):
        rows += _growth(name, before, after)
    last = _by_adapter(rounds)[-1]
    rows.append(_row(f"anonymous after the {names[-1]}, MiB", None, _median_mib(last, "anon")))
    for name, records in list(zip(names, _by_adapter(rounds), strict=True))[1:]:
        load_s, speed = (_median(records, field) for field in ("load_s", "decode_tok_s"))
        rows.append([f"load the {name} adapter, s", "", f"{load_s:.3f}"])
        rows.append([f"decode with the {name} adapter, tok/s", "", f"{speed:.1f}"])
    title = f"{TITLE}: {len(names)} adapters (medians of {len(rounds)})"
    return table(title, ["", "the demo", "here"], rows)


def _by_adapter(rounds: Sequence[Answers]) -> list[Answers]:
    """What each adapter answered in all rounds."""
    return [list(records) for records in zip(*rounds, strict=True)]


def _growth(name: str, before: Answers, after: Answers) -> list[list[str]]:
    """What an adapter adds to the memory that the process had after the one before."""
    demo = {"rss": DEMO_RSS_MIB["second"] - DEMO_RSS_MIB["first"]} if name == "second" else {}
    kinds = {"rss": "RSS", "pss": "PSS", "anon": "anonymous"}
    return [
        _row(
            f"the {name} adds, {shown}, MiB",
            demo.get(kind),
            _median_mib(after, kind) - _median_mib(before, kind),
        )
        for kind, shown in kinds.items()
    ]


def _median_mib(records: Answers, kind: str) -> float:
    return _median(records, kind) / MIB


def _median(records: Answers, field: str) -> float:
    return statistics.median(float(record[field]) for record in records)


def _row(label: str, theirs: float | None, ours: float) -> list[str]:
    return [label, "" if theirs is None else f"{theirs:,.0f}", f"{ours:,.0f}"]


if __name__ == "__main__":
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    main()
