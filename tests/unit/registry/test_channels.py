"""Channels: their history, their pointer, and many who move them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ptefoundry.errors import ConflictError, RegistryError, TrustError
from ptefoundry.registry.channel_rules import rollback_target
from ptefoundry.registry.channels import Channel, StoredRecord, list_channels
from ptefoundry.registry.names import Reference, channel_key, record_key
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.trust.channel_envelope import ChannelRecord
from ptefoundry.registry.trust.keys import Signer, generate_signer
from ptefoundry.registry.trust.policy import TrustedKey, TrustPolicy

RECORD = ChannelRecord(
    name="assistant",
    channel="stable",
    number=1,
    version="1.0.0",
    digest="sha256:" + "1" * 64,
    size=3,
    previous=None,
    time="2026-11-22T08:00:00Z",
    expires=None,
    by="red",
    reason="",
    action="promote",
)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def channel(store: MemoryStore) -> Channel:
    return Channel(store, "assistant", "stable")


def versions(records: Iterator[StoredRecord]) -> list[str]:
    return [stored.record.version for stored in records]


def test_a_channel_begins_empty(channel: Channel) -> None:
    assert channel.newest() is None
    assert list(channel.history()) == []


def test_the_pointer_is_the_newest_record(store: MemoryStore, channel: Channel) -> None:
    for number in (1, 2, 3):
        moved = channel.move(replace(RECORD, version=f"1.{number}.0"))
        assert moved.number == number
    assert versions(channel.history()) == ["1.3.0", "1.2.0", "1.1.0"]
    pointer, _ = store.read(channel_key("assistant", "stable"), limit=9999)
    assert pointer == store.read(record_key("assistant", "stable", 3), limit=9999)[0]
    assert list_channels(store) == [Reference("assistant", channel="stable")]


def test_everybody_who_moves_gets_a_number(channel: Channel) -> None:
    records = [replace(RECORD, version=f"1.{number}.0", by=f"{number}") for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        moved = list(pool.map(channel.move, records))
    assert sorted(record.number for record in moved) == list(range(1, 21))
    by_number = {record.number: record.version for record in moved}
    assert versions(channel.history()) == [by_number[number] for number in range(20, 0, -1)]


def test_a_decision_counts_only_for_what_it_was_made_on(channel: Channel) -> None:
    channel.move(RECORD)
    seen = channel.newest()
    channel.move(replace(RECORD, version="1.1.0"))
    with pytest.raises(ConflictError, match=r"found number 2, 1\.1\.0; look at"):
        channel.move(replace(RECORD, version="1.2.0"), after=seen)
    channel.move(replace(RECORD, version="1.2.0"), after=channel.newest())


def test_a_pointer_that_was_left_behind_is_moved_on(store: MemoryStore, channel: Channel) -> None:
    channel.move(RECORD)
    old, _ = store.read(channel_key("assistant", "stable"), limit=9999)
    channel.move(replace(RECORD, version="1.1.0"))
    newest, token = store.read(channel_key("assistant", "stable"), limit=9999)
    store.replace(channel_key("assistant", "stable"), old, token)
    found = channel.newest()
    assert found is not None
    assert found.record.version == "1.1.0"
    channel.point_to(found)
    assert store.read(channel_key("assistant", "stable"), limit=9999)[0] == newest
    earlier = list(channel.history())[1]
    channel.point_to(earlier)
    assert store.read(channel_key("assistant", "stable"), limit=9999)[0] == newest


def test_an_altered_history_is_noticed(store: MemoryStore, channel: Channel) -> None:
    for minor in range(3):
        channel.move(replace(RECORD, version=f"1.{minor}.0"))
    key = record_key("assistant", "stable", 2)
    data, token = store.read(key, limit=9999)
    forged = replace(list(channel.history())[1].record, version="6.6.6").to_bytes()
    store.replace(key, forged, token)
    with pytest.raises(RegistryError, match=r"00000002\.json: .*the history was altered"):
        list(channel.history())
    store.delete(key)
    with pytest.raises(RegistryError, match="or none; the history was altered"):
        list(channel.history())
    third, _ = store.read(record_key("assistant", "stable", 3), limit=9999)
    store.create(key, third)
    with pytest.raises(RegistryError, match="number: expected 2, found 3"):
        list(channel.history())
    assert data


def test_a_policy_wants_signed_records(store: MemoryStore, channel: Channel) -> None:
    signer, other = generate_signer(), generate_signer()

    def signed(*signers: Signer) -> Channel:
        policy = TrustPolicy(keys=(TrustedKey(key=signer.public),))
        return Channel(store, "assistant", "stable", signers=signers, policy=policy)

    signed(signer).move(RECORD)
    assert versions(signed().history()) == ["1.0.0"]
    channel.move(replace(RECORD, version="1.1.0"))
    with pytest.raises(TrustError, match="found none"):
        signed().newest()
    assert versions(channel.history()) == ["1.1.0", "1.0.0"]
    store.delete(record_key("assistant", "stable", 2))
    pointer, token = store.read(channel_key("assistant", "stable"), limit=9999)
    forged = replace(RECORD, version="6.6.6").to_bytes((other,))
    store.replace(channel_key("assistant", "stable"), forged, token)
    with pytest.raises(TrustError, match="of a trusted key"):
        signed().newest()
    assert pointer != forged


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("a b", "a"),
        ("a b c", "b"),
        ("a b c <b", "a"),
        ("a b c <b d", "b"),
        ("a b c <b <a d", "a"),
        ("a b b", "a"),
        ("a b a c <a", "b"),
    ],
)
def test_rollbacks_go_back_in_order(channel: Channel, steps: str, expected: str) -> None:
    names = {"a": "1.0.0", "b": "1.1.0", "c": "1.2.0", "d": "1.3.0"}
    for step in steps.split():
        action = "rollback" if step.startswith("<") else "promote"
        channel.move(replace(RECORD, version=names[step[-1]], action=action))
    present = names[steps[-1]]
    assert rollback_target(channel.history(), present=present, where="") == names[expected]


def test_there_may_be_nothing_to_go_back_to(channel: Channel) -> None:
    channel.move(RECORD)
    with pytest.raises(RegistryError, match="none to go back to"):
        rollback_target(channel.history(), present="1.0.0", where="")


def test_foreign_objects_among_channels_are_named(store: MemoryStore) -> None:
    store.create("channels/assistant/A.json", b"")
    with pytest.raises(RegistryError, match=r"channels/assistant/A\.json: expected a channel"):
        list_channels(store)
