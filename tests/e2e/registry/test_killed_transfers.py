"""`push` and `pull` of a large file, killed in the middle: the next run goes on from there."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ptefoundry import s3
from ptefoundry.digest import hash_file
from ptefoundry.registry.pack import pack_bundle
from support.packed import copy_bundle, replace_file
from support.places import Place, check_whole, environment_of
from support.relay import Relay, relay_to
from support.seaweedfs import S3Server
from support.shell import Shell

MIB = 1 << 20
SIZE = 100 * MIB
"""Of the foundation: three parts of 32 MiB and one of 4, thirteen chunks of 8 MiB."""
FOUNDATION = "xnnpack/foundation.ptd"
_WAIT_S = 60.0


@pytest.fixture(scope="module")
def relay(s3_server: S3Server) -> Iterator[Relay]:
    with relay_to(s3_server.url) as relay:
        yield relay


@dataclass
class Pushed:
    """A push that was killed, and the one after it."""

    shell: Shell
    place: Place
    seen: dict[str, str]
    """Versions after the kill."""
    begun: list[dict[str, Any]]
    """Uploads by parts that the killed push left."""
    left: list[dict[str, Any]]
    """Those that are left in the end."""
    sent: int
    """Bytes of the second push, HTTP's own included."""
    answer: dict[str, Any]


@pytest.fixture(scope="module")
def pushed(
    make_place: Callable[[str], Place], relay: Relay, tmp_path_factory: pytest.TempPathFactory
) -> Pushed:
    place, folder = make_place("s3").init(), tmp_path_factory.mktemp("pushed")
    bundle = copy_bundle(folder / "bundle")
    replace_file(bundle, FOUNDATION, random.Random(1).randbytes(SIZE))
    shell = Shell(folder, {**place.environment, "AWS_ENDPOINT_URL": relay.url})
    push = ("push", "bundle", "--registry", place.url, "--version", "1.0.0")
    process = shell.start(*push)
    _wait_for(lambda: _confirmed_parts(shell) >= 2)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    seen, begun = check_whole(place.open()), _unfinished(place)
    relay.reset()
    answer = shell.json(*push)
    return Pushed(shell, place, seen, begun, _unfinished(place), relay.sent, answer)


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def _confirmed_parts(shell: Shell) -> int:
    """Parts of the upload that the push has noted: lines behind the first one."""
    journals = (shell.home / ".cache" / "ptefoundry" / "uploads").glob("*.jsonl")
    return max((path.read_bytes().count(b"\n") - 1 for path in journals), default=0)


def _unfinished(place: Place) -> list[dict[str, Any]]:
    bucket, _, prefix = place.url.removeprefix("s3://").partition("/")
    with environment_of(place.environment):
        answer = s3.connect().list_multipart_uploads(Bucket=bucket, Prefix=prefix)
    return list(answer.get("Uploads", ()))


def test_a_push_that_was_killed_sends_the_parts_that_are_missing(pushed: Pushed) -> None:
    assert pushed.seen == {}
    assert len(pushed.begun) == 1
    # Two of four parts were there, of which one may be the small one.
    assert SIZE // 4 < pushed.sent < SIZE - 36 * MIB + 2 * MIB
    assert pushed.left == []
    digest = pack_bundle(pushed.shell.folder / "bundle", version="1.0.0").index.digest
    assert pushed.answer["digest"] == digest
    assert check_whole(pushed.place.open()) == {"tiny@1.0.0": digest}


def test_a_pull_that_was_killed_fetches_the_chunks_that_are_missing(
    pushed: Pushed, relay: Relay
) -> None:
    shell = pushed.shell
    pull = ("pull", pushed.place.url, "tiny@1.0.0", "--to", "app")
    relay.reset()
    process = shell.start(*pull)
    relay.on_data = lambda: process.kill() if relay.received > 64 * MIB else None
    _, error = process.communicate()
    relay.on_data = lambda: None
    assert process.returncode == -signal.SIGKILL, error
    assert not (shell.folder / "app").exists()
    relay.reset()
    pulled = shell.json(*pull)
    assert pulled["received_bytes"] < SIZE - 16 * MIB
    assert relay.received < SIZE - 16 * MIB
    bundle, app = shell.folder / "bundle", shell.folder / "app"
    for path in (FOUNDATION, "xnnpack/red.pte", "tokenizer/tokenizer.json"):
        assert hash_file(app / path) == hash_file(bundle / path)
    assert "are as the manifest says" in shell.run("verify", "app")
