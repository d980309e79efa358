"""Promoting, rolling back and resolving, with and without a policy."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ptefoundry.errors import ConflictError, RegistryError, TrustError
from ptefoundry.registry.channels import Channel
from ptefoundry.registry.moves import Move, follow_push, promote, roll_back
from ptefoundry.registry.names import channel_key, parse_reference
from ptefoundry.registry.refs import VersionRef, create_ref, remove_ref
from ptefoundry.registry.resolve import Resolved, resolve
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.trust.keys import Signer, generate_signer
from ptefoundry.registry.trust.policy import TrustedKey, TrustPolicy
from ptefoundry.registry.trust.seen import SeenRecords
from ptefoundry.registry.yanks import Yank, yank

NOW, TIME = 1_800_000_000.0, "2027-01-15T08:00:00Z"
DAY = 24 * 3600.0
SIGNER = generate_signer()
POLICY = TrustPolicy(keys=(TrustedKey(key=SIGNER.public),))
#: Of somebody who moves channels that need not expire.
LENIENT = replace(POLICY, require_expiry=False)
MOVE = Move(by="red", reason="tested", clock=lambda: NOW)
VERSIONS = ("1.0.0", "1.1.0", "1.2.0")


@dataclass
class Client:
    """A store with versions, and a client that remembers what it has seen."""

    store: MemoryStore
    seen: SeenRecords

    @property
    def channel(self) -> Channel:
        return Channel(self.store, "assistant", "stable", signers=(SIGNER,), policy=LENIENT)

    def resolve(self, text: str, *, at: float = NOW, policy: TrustPolicy | None = None) -> Resolved:
        reference = parse_reference(text)
        return resolve(self.store, reference, policy=policy, seen=self.seen, clock=lambda: at)


@pytest.fixture
def client(tmp_path: Path) -> Client:
    store = MemoryStore()
    for number, version in enumerate(VERSIONS):
        digest = f"sha256:{number:064}"
        create_ref(
            store,
            VersionRef(
                name="assistant", version=version, digest=digest, size=3, time=TIME, by="red"
            ),
        )
    return Client(store, SeenRecords(tmp_path, store.url))


def test_a_version_is_promoted_and_rolled_back(client: Client) -> None:
    for version in VERSIONS:
        promote(client.store, client.channel, version, MOVE)
    assert client.resolve("assistant:stable").version == "1.2.0"
    assert roll_back(client.store, client.channel, MOVE).version == "1.1.0"
    assert client.resolve("assistant:stable").version == "1.1.0"
    assert roll_back(client.store, client.channel, MOVE).version == "1.0.0"
    assert roll_back(client.store, client.channel, MOVE, to="1.2.0").version == "1.2.0"
    actions = [stored.record.action for stored in client.channel.history()]
    assert actions == ["rollback"] * 3 + ["promote"] * 3


def test_rolling_back_to_what_never_was_is_refused(client: Client) -> None:
    promote(client.store, client.channel, "1.0.0", MOVE)
    with pytest.raises(RegistryError, match=r"found 1\.1\.0; .*promote"):
        roll_back(client.store, client.channel, MOVE, to="1.1.0")


def test_pushing_again_does_not_move(client: Client) -> None:
    first = follow_push(client.store, client.channel, "1.0.0", MOVE)
    assert follow_push(client.store, client.channel, "1.0.0", MOVE) == first
    refreshed = promote(client.store, client.channel, "1.0.0", MOVE)
    assert (refreshed.number, refreshed.action) == (2, "refresh")


@pytest.mark.parametrize("move", [promote, follow_push])
def test_yanked_and_removed_versions_are_not_offered(
    client: Client, move: Callable[[MemoryStore, Channel, str, Move], object]
) -> None:
    yank(
        client.store,
        Yank(name="assistant", version="1.1.0", reason="crashes", time=TIME, by="red"),
    )
    remove_ref(client.store, _ref(client, "1.2.0"), clock=lambda: NOW)
    with pytest.raises(RegistryError, match=r"yanked on .*: crashes"):
        move(client.store, client.channel, "1.1.0", MOVE)
    with pytest.raises(RegistryError, match="removed on"):
        move(client.store, client.channel, "1.2.0", MOVE)
    with pytest.raises(RegistryError, match="found none"):
        move(client.store, client.channel, "9.0.0", MOVE)
    assert client.channel.newest() is None
    assert client.resolve("assistant@1.1.0").yanked is not None
    with pytest.raises(RegistryError, match="removed on"):
        client.resolve("assistant@1.2.0")


def test_a_rollback_counts_for_what_was_seen(client: Client) -> None:
    for version in VERSIONS:
        promote(client.store, client.channel, version, MOVE)

    class Slow(Channel):
        def newest(self):  # type: ignore[no-untyped-def]
            found = super().newest()
            if found is not None and found.record.number == 3:
                promote(client.store, client.channel, "1.0.0", MOVE)
            return found

    slow = Slow(client.store, "assistant", "stable", signers=(SIGNER,), policy=LENIENT)
    with pytest.raises(ConflictError, match="nobody to move it meanwhile"):
        roll_back(client.store, slow, MOVE)
    assert client.resolve("assistant:stable").version == "1.0.0"


def test_old_and_expired_pointers_are_refused(client: Client) -> None:
    valid = replace(MOVE, valid_s=7 * DAY)
    promote(client.store, client.channel, "1.0.0", valid)
    key = channel_key("assistant", "stable")
    old, _ = client.store.read(key, limit=9999)
    promote(client.store, client.channel, "1.1.0", valid)
    assert client.resolve("assistant:stable", policy=POLICY).version == "1.1.0"
    with pytest.raises(TrustError, match="expired on 2027-01-22"):
        client.resolve("assistant:stable", at=NOW + 8 * DAY, policy=POLICY)
    _, token = client.store.read(key, limit=9999)
    client.store.replace(key, old, token)
    with pytest.raises(TrustError, match="somebody shows an old one"):
        client.resolve("assistant:stable", policy=POLICY)


def test_under_a_policy_channels_must_expire(client: Client) -> None:
    promote(client.store, client.channel, "1.0.0", MOVE)
    with pytest.raises(TrustError, match="expires: expected a time"):
        client.resolve("assistant:stable", policy=POLICY)
    assert client.resolve("assistant:stable").version == "1.0.0"


@pytest.mark.parametrize(
    ("signers", "policy", "said"),
    [
        ((), None, "expected a key to sign with.*--key"),
        ((), LENIENT, "expected a signature of a trusted key.*found none; .*--key"),
        ((generate_signer(),), LENIENT, "expected a signature of a trusted key.*found only"),
        ((SIGNER,), POLICY, "expected a time until which .*--valid"),
    ],
)
def test_a_move_that_clients_would_refuse_is_not_made(
    client: Client, signers: tuple[Signer, ...], policy: TrustPolicy | None, said: str
) -> None:
    for version in VERSIONS[:2]:
        promote(client.store, client.channel, version, MOVE)
    channel = Channel(client.store, "assistant", "stable", signers=signers, policy=policy)
    for move in (promote, follow_push):
        with pytest.raises(TrustError, match=said):
            move(client.store, channel, "1.2.0", MOVE)
    with pytest.raises(TrustError, match=said):
        roll_back(client.store, channel, MOVE)
    assert len(list(client.channel.history())) == 2


def test_who_signs_nothing_moves_channels_that_nobody_signs(client: Client) -> None:
    for version in VERSIONS[:2]:
        promote(client.store, Channel(client.store, "assistant", "stable"), version, MOVE)
    assert client.resolve("assistant:stable").version == "1.1.0"


@pytest.mark.parametrize("text", ["assistant", "assistant:beta", "assistant@9.0.0", "other@1.0.0"])
def test_what_is_not_there_is_said(client: Client, text: str) -> None:
    with pytest.raises(RegistryError, match=r"expected a .*ptefoundry ls"):
        client.resolve(text)


def _ref(client: Client, version: str) -> VersionRef:
    found = client.resolve(f"assistant@{version}")
    return VersionRef(
        name="assistant",
        version=version,
        digest=found.index.digest,
        size=found.index.size,
        time=TIME,
        by="red",
    )
