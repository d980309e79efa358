"""Processes side by side: what each of them has of memory that all of them have."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from integration.runner.conftest import Runner
from integration.runner.serving import Server
from integration.runner.tiny_programs import TinyProgram

PROMPT = [1, 5, 9, 20]


def mapped(server: Server, path: Path) -> Counter[str]:
    """What a process has in memory of a file, in bytes by the names of smaps."""
    total: Counter[str] = Counter()
    inside = False
    for line in Path(f"/proc/{server.process.pid}/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = line.endswith(str(path))
        elif inside and line.endswith(" kB"):
            name, kibibytes, _ = line.split()
            total[name.rstrip(":")] += int(kibibytes) << 10
    return total


def shared(server: Server, path: Path) -> int:
    of_file = mapped(server, path)
    return of_file["Shared_Clean"] + of_file["Shared_Dirty"]


@pytest.fixture
def start(
    runner: Runner, base: TinyProgram, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., Server]:
    """Starts a process that has answered, over packed weights of this test's own."""

    def start(*options: str) -> Server:
        files = ("--program", base.program, "--data", base.foundation)
        own = Runner(runner.program, tmp_path / "cache")
        server = Server(own, ["--serve-stdio", *files, "--quiet", *options])
        request.addfinalizer(server.process.kill)
        answer = server.ask(tokens=PROMPT, max_new_tokens=6)
        assert answer["tokens"] == base.greedy(PROMPT, 6)
        return server

    return start


def test_a_second_process_shares_packed_weights_and_foundation(
    start: Callable[..., Server], base: TinyProgram
) -> None:
    servers = [start(), start()]
    packed = Path(servers[0].ready["packed_cache"]["path"])
    embedding = base.model.get_parameter("tok_embeddings.weight").nbytes
    for server in servers:
        assert shared(server, packed) > packed.stat().st_size // 2
        # Packed weights replace all of it but what is no linear's.
        foundation = mapped(server, base.foundation)
        assert shared(server, base.foundation) >= embedding // 2
        assert foundation["Anonymous"] == 0
        memory = server.ask(op="stats")["memory"]
        of_files, share = (memory[kind] - memory["anon"] for kind in ("rss", "pss"))
        assert share < 0.6 * of_files


def test_without_packed_weights_the_foundation_is_shared_still(
    start: Callable[..., Server], base: TinyProgram
) -> None:
    for server in [start("--no-packed-cache"), start("--no-packed-cache")]:
        assert shared(server, base.foundation) > 0
        assert mapped(server, base.foundation)["Anonymous"] == 0
