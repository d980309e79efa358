"""What goes over the wire, counted in front of SeaweedFS: HTTP's own part as well."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.packed import retrain
from support.places import Place
from support.relay import Relay, relay_to
from support.seaweedfs import S3Server
from support.shell import Shell

KIB = 1 << 10


@pytest.fixture
def relay(s3_server: S3Server) -> Iterator[Relay]:
    with relay_to(s3_server.url) as relay:
        yield relay


def test_an_update_moves_its_adapter_and_little_more(
    shell: Shell, make_place: Callable[[str], Place], relay: Relay, bundle: Path
) -> None:
    place = make_place("s3").init()
    place.publish(bundle, "1.0.0")
    size = retrain(bundle, "red", b"learnt since" * 3000)
    shell.environment = {**place.environment, "AWS_ENDPOINT_URL": relay.url}
    pull = ("pull", place.url, "--to", "app")

    shell.run(*pull, "tiny@1.0.0")
    assert relay.received > 560 * KIB

    relay.reset()
    pushed = shell.json("push", "bundle", "--registry", place.url, "--version", "1.1.0")
    assert size < pushed["sent"]["bytes"] < size + 16 * KIB
    # Headers of some seventy requests, and a bill of materials, are most of it.
    assert size < relay.sent < size + 96 * KIB

    relay.reset()
    pulled = shell.json(*pull, "tiny@1.1.0")
    assert size <= pulled["received_bytes"] < size + 16 * KIB
    assert size < relay.received < size + 64 * KIB
    assert relay.sent < 32 * KIB

    relay.reset()
    assert shell.json(*pull, "tiny@1.1.0")["received_bytes"] == 0
    assert relay.received < 16 * KIB
    assert relay.answers <= 6
