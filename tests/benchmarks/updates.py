"""Measures what a push and a pull cost when little or nothing has changed; prints a table.

    make demo
    python tests/benchmarks/updates.py

The demo's bundle, the command as a user runs it, SeaweedFS on the same machine behind a relay
that counts bytes and answers. Seconds are medians of 5 with the interpreter's start;
`s5cmd sync` of the same files, which compares sizes and times, is there to compare with.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from measure import begin, show, table

from ptefoundry import s3
from ptefoundry.files import place
from support.packed import replace_file
from support.relay import Relay, relay_to
from support.seaweedfs import serve_s3

ROOT = Path(__file__).parents[2]
REGISTRY, COPY = "s3://models/registry", "s3://models/copy/"
ROUNDS = 5


@dataclass(frozen=True)
class Cost:
    """Of one run of a command."""

    seconds: float
    requests: int
    sent: int
    received: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=ROOT / "artifacts" / "bundle")
    parser.add_argument("--s5cmd", type=Path, help="the program; without it there is no such row")
    arguments = parser.parse_args()
    begin()
    with (
        tempfile.TemporaryDirectory() as name,
        serve_s3(Path(name) / "seaweedfs") as server,
        relay_to(server.url) as relay,
    ):
        folder = Path(name)
        os.environ.update(server.environment())
        s3.connect().create_bucket(Bucket="models")
        os.environ |= {"AWS_ENDPOINT_URL": relay.url, "S3_ENDPOINT_URL": relay.url}
        os.environ["PTEFOUNDRY_CACHE"] = str(folder / "cache")
        rows = measure(arguments.bundle.resolve(), arguments.s5cmd, folder, relay)
    header = ["", "seconds", "requests", "bytes sent", "bytes received"]
    show(table("When little or nothing changed", header, rows))


def measure(bundle: Path, s5cmd: Path | None, folder: Path, relay: Relay) -> list[list[str]]:
    """Rows of the table."""
    changed, adapter = folder / "changed", "xnnpack/nobel.pte"
    size = change(bundle, adapter, changed)
    name = json.loads((bundle / "manifest.json").read_text())["name"]

    def push(of: Path, version: str) -> Cost:
        return cost(relay, ["push", of, "--registry", REGISTRY, "--version", version])

    def pull(version: str) -> Cost:
        return cost(relay, ["pull", REGISTRY, f"{name}@{version}", "--to", folder / "app"])

    cost(relay, ["registry", "init", REGISTRY])
    rows = [
        row("first push", push(bundle, "1.0.0")),
        row("push again, nothing changed", median(lambda: push(bundle, "1.0.0"))),
        row("first pull", pull("1.0.0")),
        row("pull again, nothing changed", median(lambda: pull("1.0.0"))),
        row(f"push, one adapter of {size:,} bytes changed", push(changed, "1.1.0")),
        row("pull of that", pull("1.1.0")),
    ]
    if s5cmd is not None:
        sync: list[str | Path] = [s5cmd, "sync", f"{bundle}/", COPY]
        run(relay, sync)
        rows.append(row("s5cmd sync, nothing changed", median(lambda: run(relay, sync))))
    return rows


def change(bundle: Path, path: str, into: Path) -> int:
    """A copy of a bundle with another program for an adapter; returns the program's size."""
    for file in bundle.rglob("*"):
        if file.is_file():
            place(file, into / file.relative_to(bundle))
    for name in (path, "manifest.json"):
        data = (into / name).read_bytes()
        (into / name).unlink()
        (into / name).write_bytes(data)
    data = (into / path).read_bytes()
    replace_file(into, path, data + b"trained again")
    return len(data)


def cost(relay: Relay, arguments: list[str | Path]) -> Cost:
    """Of a command of ours that must succeed."""
    return run(relay, [Path(sys.executable).with_name("ptefoundry"), *arguments])


def run(relay: Relay, command: list[str | Path]) -> Cost:
    relay.reset()
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(f"{command}: {done.stdout}{done.stderr}")
    return Cost(seconds, relay.answers, relay.sent, relay.received)


def median(measure: Callable[[], Cost]) -> Cost:
    """The run in the middle of several."""
    costs = sorted((measure() for _ in range(ROUNDS)), key=lambda cost: cost.seconds)
    middle = statistics.median_low([cost.seconds for cost in costs])
    return next(cost for cost in costs if cost.seconds == middle)


def row(title: str, found: Cost) -> list[str]:
    """A line of the table."""
    numbers = (f"{found.requests}", f"{found.sent:,}", f"{found.received:,}")
    return [title, f"{found.seconds:.2f}", *numbers]


if __name__ == "__main__":
    main()
