"""Which channels there are, for readers that cannot list: kept by whoever moves one."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from ptefoundry.digest import canonical_json
from ptefoundry.errors import RegistryError, StoreRefusedError
from ptefoundry.registry.channel_list import (
    ensure_channel_list,
    find_channels,
    note_channel,
    parse_channel_list,
    read_channel_list,
    rebuild_channel_list,
)
from ptefoundry.registry.channels import Channel
from ptefoundry.registry.documents import DOCUMENT_LIMIT
from ptefoundry.registry.moves import Move, follow_push, promote
from ptefoundry.registry.names import CHANNEL_LIST_KEY, Reference
from ptefoundry.registry.registry import init_registry
from ptefoundry.registry.store.memory import MemoryStore
from support.layouts import NOW, empty_registry, push
from support.packed import NAME, pack


@pytest.fixture(scope="module")
def packed_store() -> MemoryStore:
    store = empty_registry()
    push(store, pack(version="1.0.0").packed)
    return store


@pytest.fixture
def store(packed_store: MemoryStore) -> MemoryStore:
    """A registry with a version and no channel."""
    copied = MemoryStore(clock=lambda: NOW)
    for info in packed_store.list(""):
        copied.create(info.key, packed_store.read(info.key, limit=info.size)[0])
    return copied


def move(store: MemoryStore, channel: str) -> None:
    step = Move(by="ci", reason="", clock=lambda: NOW)
    promote(store, Channel(store, NAME, channel), "1.0.0", step)


def listed(store: MemoryStore) -> list[str] | None:
    found = read_channel_list(store)
    return None if found is None else [str(reference) for reference in found]


def raw(store: MemoryStore) -> bytes:
    return store.read(CHANNEL_LIST_KEY, limit=DOCUMENT_LIMIT)[0]


def test_a_new_registry_has_no_channels_and_says_so(store: MemoryStore) -> None:
    assert raw(store) == b'{"channels":{},"format":1}'
    assert listed(store) == []


def test_who_moves_a_channel_lists_it_once(store: MemoryStore) -> None:
    for channel in ("stable", "beta", "stable"):
        move(store, channel)
    assert raw(store) == canonical_json({"format": 1, "channels": {NAME: ["beta", "stable"]}})
    token = store.head(CHANNEL_LIST_KEY)
    move(store, "beta")
    assert store.head(CHANNEL_LIST_KEY) == token


def test_a_channel_that_was_left_out_is_listed_with_its_next_move(store: MemoryStore) -> None:
    move(store, "stable")
    store.delete(CHANNEL_LIST_KEY)
    store.create(CHANNEL_LIST_KEY, b'{"channels":{},"format":1}')
    step = Move(by="ci", reason="", clock=lambda: NOW)
    follow_push(store, Channel(store, NAME, "stable"), "1.0.0", step)
    assert listed(store) == [f"{NAME}:stable"]


def test_an_older_registry_gets_its_list_with_all_its_channels(store: MemoryStore) -> None:
    for channel in ("stable", "beta"):
        move(store, channel)
    store.delete(CHANNEL_LIST_KEY)
    assert listed(store) is None
    move(store, "nightly")
    assert listed(store) == [f"{NAME}:beta", f"{NAME}:nightly", f"{NAME}:stable"]
    store.delete(CHANNEL_LIST_KEY)
    init_registry(store)
    assert listed(store) == [f"{NAME}:beta", f"{NAME}:nightly", f"{NAME}:stable"]


def test_init_leaves_a_list_as_it_is(store: MemoryStore) -> None:
    move(store, "stable")
    before = raw(store)
    ensure_channel_list(store)
    assert raw(store) == before


def test_many_make_channels_at_once(store: MemoryStore) -> None:
    store.delete(CHANNEL_LIST_KEY)
    names = [f"pr-{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: move(store, name), names))
    assert listed(store) == sorted(f"{NAME}:{name}" for name in names)


def test_readers_go_by_the_channels_themselves_where_they_can_list(store: MemoryStore) -> None:
    move(store, "stable")
    note_channel(store, Reference("other", channel="gone"))
    stable, gone = Reference(NAME, channel="stable"), Reference("other", channel="gone")
    assert find_channels(store) == [stable]
    store.can_list = False
    assert find_channels(store) == [gone, stable]
    assert find_channels(store, NAME) == [stable]
    store.can_list = True
    rebuild_channel_list(store)
    assert listed(store) == [str(stable)]


class _Refusing(MemoryStore):
    """Lets nobody write the list, as a policy of before it does."""

    def replace(self, key: str, data: bytes, token: str) -> str:
        if key == CHANNEL_LIST_KEY:
            raise StoreRefusedError(f"{key}: access denied")
        return super().replace(key, data, token)


def test_a_move_counts_though_the_list_may_not_be_written(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    refusing = _Refusing(clock=lambda: NOW)
    for info in store.list(""):
        refusing.create(info.key, store.read(info.key, limit=info.size)[0])
    with caplog.at_level(logging.WARNING):
        move(refusing, "stable")
    assert Channel(refusing, NAME, "stable").newest() is not None
    assert "tiny:stable was moved, but readers that cannot list will not find it" in caplog.text


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b'{"channels":[],"format":1}', b" " * (DOCUMENT_LIMIT + 1)]
)
def test_a_move_counts_though_the_list_is_damaged(
    store: MemoryStore, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    store.delete(CHANNEL_LIST_KEY)
    store.create(CHANNEL_LIST_KEY, damage)
    with caplog.at_level(logging.WARNING):
        move(store, "stable")
    assert "fsck --repair" in caplog.text


def test_a_list_that_nobody_could_read_is_not_written(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    names = {f"{'n' * 50}{number}": ["c" * 60] for number in range(8600)}
    store.delete(CHANNEL_LIST_KEY)
    store.create(CHANNEL_LIST_KEY, canonical_json({"format": 1, "channels": names}))
    with caplog.at_level(logging.WARNING):
        for number in range(10):
            note_channel(store, Reference("o" * 60, channel=f"{'d' * 60}{number}"))
    assert "there are too many channels to be listed" in caplog.text
    assert len(raw(store)) <= DOCUMENT_LIMIT


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ([], "expected lists by name"),
        ({"tiny": "stable"}, "expected a list of texts"),
        ({"tiny": [1]}, "expected a list of texts"),
        ({"tiny": ["../x"]}, "expected a channel's name"),
        ({"../x": ["stable"]}, "expected a bundle's name"),
        ({"tiny": ["x" * 65]}, "expected a channel's name"),
    ],
)
def test_what_is_no_list_is_refused(channels: object, said: str) -> None:
    data = canonical_json({"format": 1, "channels": channels})
    with pytest.raises(RegistryError, match=f"x: channels.*{said}"):
        parse_channel_list(data, where="x")


def test_a_name_may_stand_twice_and_is_read_once() -> None:
    data = canonical_json({"format": 1, "channels": {"tiny": ["b", "a", "b"]}, "later": 1})
    assert [str(one) for one in parse_channel_list(data, where="x")] == ["tiny:a", "tiny:b"]
