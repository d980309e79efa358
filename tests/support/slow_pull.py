"""A process that fetches blobs from a folder, slowly, and writes down what it received.

Run as `python -m support.slow_pull PLAN`; PLAN is the JSON of a `Plan`. Each piece that
arrives adds its size to the log, as a line in one write: lines of processes do not mix.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.download import WantedBlob
from ptefoundry.registry.fetch import fetch_blobs
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.report import PROGRESS_VARIABLE

_TESTS = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to fetch and how."""

    objects: str
    """Folder whose files are the store's objects."""
    cache: str
    log: str
    digests: list[str]
    chunk_lists: dict[str, str]
    """Digest of a blob -> digest of its chunk list."""
    threads: int = 4
    piece_s: float = 0.0
    """Seconds that each piece of 64 KiB takes."""
    file_limit: int = 0
    """Bytes that a file may have, as `ulimit -f` sets it; 0 for any."""
    chunked_from: int = 0
    """Bytes from which a blob is fetched by chunks."""


def start(plan: Plan) -> "subprocess.Popen[str]":
    """Begin to fetch in another process; its stdout has errors, its stderr progress as lines."""
    return subprocess.Popen(
        [sys.executable, "-m", "support.slow_pull", json.dumps(asdict(plan))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=_TESTS,
        env={**os.environ, "PYTHONPATH": str(_TESTS), PROGRESS_VARIABLE: "lines"},
    )


def received(log: Path) -> int:
    """Bytes that arrived, by the log."""
    return sum(map(int, log.read_text().split())) if log.exists() else 0


class _SlowStore(MemoryStore):
    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        self._log = os.open(plan.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for path in Path(plan.objects).rglob("*"):
            if path.is_file():
                self.create(path.relative_to(plan.objects).as_posix(), path.read_bytes())

    @contextmanager
    def stream(self, key: str, start: int, end: int) -> Iterator[Iterator[bytes]]:
        with super().stream(key, start, end) as pieces:
            yield self._slowly(pieces)

    def _slowly(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            time.sleep(self._plan.piece_s)
            os.write(self._log, f"{len(piece)}\n".encode())
            yield piece


def _main(plan: Plan) -> None:
    from ptefoundry.errors import FoundryError
    from ptefoundry.registry import chunks

    if plan.file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (plan.file_limit, resource.RLIM_INFINITY))
    chunks.CHUNKED_FROM = plan.chunked_from
    store = _SlowStore(plan)

    def blob(digest: str) -> WantedBlob:
        found = store.head("blobs/sha256/" + digest.removeprefix("sha256:"))
        assert found is not None
        listed = plan.chunk_lists.get(digest)
        return WantedBlob(digest=digest, size=found.size, chunks=blob(listed) if listed else None)

    try:
        fetch_blobs(
            store, map(blob, plan.digests), BlobCache(Path(plan.cache)), threads=plan.threads
        )
    except FoundryError as error:
        print(type(error).__name__, error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    _main(Plan(**json.loads(sys.argv[1])))
