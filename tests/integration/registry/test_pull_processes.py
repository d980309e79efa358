"""Several processes at one cache, killed ones, and disks that are full."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.report import parse_progress
from support import slow_pull
from support.blobs import make_bytes, put_blob
from support.slow_pull import Plan, received

CHUNK = 256 << 10
THREADS = 4
LARGE = make_bytes(24 * CHUNK + 99)
SMALL = [make_bytes(100_000 + seed, seed) for seed in range(12)]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A large blob with a chunk list, and many small ones."""
    memory, objects = MemoryStore(), tmp_path / "objects"
    large = put_blob(memory, LARGE, chunk_size=CHUNK)
    assert large.chunks is not None
    blobs = [large, *(put_blob(memory, data) for data in SMALL)]
    for info in memory.list(""):
        path = objects / info.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(memory.read(info.key, limit=info.size)[0])
    return Plan(
        objects=str(objects),
        cache=str(tmp_path / "cache"),
        log=str(tmp_path / "log"),
        digests=[blob.digest for blob in blobs],
        chunk_lists={large.digest: large.chunks.digest},
        threads=THREADS,
        chunked_from=CHUNK,
    )


def total(plan: Plan) -> int:
    """Bytes of all blobs and the chunk list."""
    wanted = {*plan.digests, *plan.chunk_lists.values()}
    return sum(
        path.stat().st_size
        for path in Path(plan.objects).rglob("*")
        if f"sha256:{path.name}" in wanted
    )


def check_cache(plan: Plan) -> None:
    cache = BlobCache(Path(plan.cache))
    for digest, data in zip(plan.digests, [LARGE, *SMALL], strict=True):
        assert cache.read(digest, len(data)) == data
    assert list(cache.partials.iterdir()) == []


def wait_for(plan: Plan, count: int) -> None:
    while received(Path(plan.log)) < count:
        time.sleep(0.01)


def kill(process: "slow_pull.subprocess.Popen[str]") -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_download_goes_on_with_all_but_the_chunks_in_flight(plan: Plan) -> None:
    only = replace(plan, digests=plan.digests[:1])
    process = slow_pull.start(replace(only, piece_s=0.02))
    wait_for(plan, len(LARGE) // 2)
    kill(process)
    before = received(Path(plan.log))
    assert before < len(LARGE)
    assert slow_pull.start(only).wait() == 0
    twice = received(Path(plan.log)) - total(only)
    assert 0 <= twice <= THREADS * CHUNK
    cache = BlobCache(Path(plan.cache))
    assert cache.read(only.digests[0], len(LARGE)) == LARGE


@pytest.mark.parametrize("moment", [0.1, 0.3, 0.6, 0.9])
def test_killed_again_and_again_it_ends_with_the_right_bytes(plan: Plan, moment: float) -> None:
    slow = replace(plan, piece_s=0.005)
    for _ in range(3):
        goal = received(Path(plan.log)) + int(moment * total(plan) / 3)
        process = slow_pull.start(slow)
        while process.poll() is None and received(Path(plan.log)) < goal:
            time.sleep(0.005)
        kill(process)
    assert slow_pull.start(plan).wait() == 0
    check_cache(plan)


def test_processes_at_once_fetch_each_byte_once(plan: Plan) -> None:
    slow = replace(plan, piece_s=0.01)
    processes = [slow_pull.start(slow) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert received(Path(plan.log)) == total(plan)
    check_cache(plan)


def test_waiting_process_goes_on_when_the_other_is_killed(plan: Plan) -> None:
    only = replace(plan, digests=plan.digests[:1], piece_s=0.2)
    first = slow_pull.start(only)
    wait_for(plan, len(LARGE) // 4)
    second = slow_pull.start(replace(only, piece_s=0.0))
    assert second.stderr is not None
    shown = None
    while shown is None or shown.done < len(LARGE) // 3:  # of what the first has fetched
        line = second.stderr.readline()
        assert line, "it ended before the first was killed"
        shown = parse_progress(line)
    kill(first)
    second.communicate()
    assert second.returncode == 0
    assert received(Path(plan.log)) - total(only) <= THREADS * CHUNK


@pytest.mark.parametrize("chunked_from", [CHUNK, 1 << 40])
def test_full_disk_is_told_and_nothing_stays_that_looks_whole(
    plan: Plan, chunked_from: int
) -> None:
    only = replace(plan, digests=plan.digests[:1], chunked_from=chunked_from)
    process = slow_pull.start(replace(only, file_limit=8 * CHUNK))
    output, _ = process.communicate()
    assert output.startswith("DiskFullError"), output
    assert "raise the quota or limit of file sizes" in output
    assert only.digests[0].removeprefix("sha256:") in output
    assert process.returncode == 1
    cache = BlobCache(Path(plan.cache))
    assert cache.take(only.digests[0], len(LARGE)) is None
    assert slow_pull.start(only).wait() == 0
    assert cache.read(only.digests[0], len(LARGE)) == LARGE


def test_interrupted_download_is_resumed(plan: Plan) -> None:
    only = replace(plan, digests=plan.digests[:1])
    process = slow_pull.start(replace(only, piece_s=0.02))
    wait_for(plan, len(LARGE) // 2)
    process.send_signal(signal.SIGINT)
    process.wait()
    assert process.returncode != 0
    assert slow_pull.start(only).wait() == 0
    assert received(Path(plan.log)) - total(only) <= THREADS * CHUNK
