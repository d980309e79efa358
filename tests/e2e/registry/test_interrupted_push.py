"""Pushes that are killed: what is there stays whole, and pushing again ends the same."""

import random
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ptefoundry.registry.pack import pack_bundle
from support.packed import BUNDLE
from support.places import Place, check_whole
from support.relay import relay_to
from support.seaweedfs import S3Server
from support.shell import Shell

KILLS = 6
PUSH = ("push", str(BUNDLE), "--version", "1.0.0", "--channel", "stable", "--registry")


@contextmanager
def _killed_after(folder: Path, count: int, process: "subprocess.Popen[str]") -> Iterator[None]:
    """Kill a process as soon as a folder holds so many files."""
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if sum(1 for path in folder.rglob("*") if path.is_file()) >= count:
                process.kill()
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _check_killed(process: "subprocess.Popen[str]") -> bool:
    """Whether the process was killed, or was done before."""
    _, error = process.communicate()
    assert process.returncode in {0, -signal.SIGKILL}, error
    return process.returncode != 0


def _check_end(shell: Shell, place: Place) -> None:
    expected = pack_bundle(BUNDLE, version="1.0.0").index.digest
    assert shell.json(*PUSH, place.url)["digest"] == expected
    assert check_whole(place.open()) == {"tiny@1.0.0": expected}
    assert shell.json("pull", place.url, "tiny:stable", "--to", "app")["changed_files"] == 8
    assert {row["version"]: row["channels"] for row in shell.json("ls", place.url)} == {
        "1.0.0": ["stable"]
    }


def test_killed_in_a_folder(shell: Shell, make_place: Callable[[str], Place]) -> None:
    place = make_place("file").init()
    folder, random_ = Path(place.url.removeprefix("file:")), random.Random(1)
    kills = 0
    for count in sorted(random_.sample(range(4, 26), KILLS)):
        process = shell.start(*PUSH, place.url)
        with _killed_after(folder, count, process):
            kills += _check_killed(process)
        check_whole(place.open())
    assert kills >= KILLS // 2
    _check_end(shell, place)


def test_killed_on_s3(
    shell: Shell, make_place: Callable[[str], Place], s3_server: S3Server
) -> None:
    place, random_ = make_place("s3").init(), random.Random(2)
    kills = 0
    with relay_to(s3_server.url) as relay:
        shell.environment = {**place.environment, "AWS_ENDPOINT_URL": relay.url}
        for count in sorted(random_.sample(range(2, 60), KILLS)):
            relay.reset()
            process = shell.start(*PUSH, place.url)
            relay.on_answer = lambda answers, wanted=count, victim=process: (
                victim.kill() if answers == wanted else None
            )
            kills += _check_killed(process)
            check_whole(place.open())
        relay.on_answer = lambda _answers: None
        assert kills >= KILLS // 2
        _check_end(shell, place)
