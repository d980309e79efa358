"""What every store does for whoever reads, over HTTP too."""

import time

import pytest

from ptefoundry.errors import ObjectMissingError, ObjectTooLargeError, StoreError
from support.sides import BAD_KEYS, Side

KEY = "blobs/sha256/" + "a" * 64
DATA = bytes(range(256)) * 4096


def test_head_tells_size_time_and_token(side: Side) -> None:
    side.writer.create(KEY, DATA)

    found = side.reader.head(KEY)

    assert found is not None
    assert (found.key, found.size) == (KEY, len(DATA))
    assert abs(found.modified - time.time()) < 60
    assert found.token == side.reader.read(KEY, limit=len(DATA))[1]


def test_what_is_not_there(side: Side) -> None:
    assert side.reader.head(KEY) is None
    with pytest.raises(ObjectMissingError, match=KEY):
        side.reader.read(KEY, limit=10)
    for start, end in [(0, 10), (5, 5)]:
        with pytest.raises(ObjectMissingError), side.reader.stream(KEY, start, end):
            pass


def test_a_folder_is_no_object(side: Side) -> None:
    side.writer.create("refs/name/1.0.0.json", b"{}")

    assert side.reader.head("refs/name") is None
    with pytest.raises(ObjectMissingError):
        side.reader.read("refs/name", limit=10)
    assert side.reader.head("refs/name/1.0.0.json/below") is None


def test_read_stops_at_the_limit(side: Side) -> None:
    side.writer.create(KEY, DATA)

    assert side.reader.read(KEY, limit=len(DATA))[0] == DATA
    with pytest.raises(ObjectTooLargeError, match=f"at most {len(DATA) - 1} bytes"):
        side.reader.read(KEY, limit=len(DATA) - 1)


def test_an_empty_object(side: Side) -> None:
    side.writer.create(KEY, b"")

    assert side.reader.read(KEY, limit=0)[0] == b""
    found = side.reader.head(KEY)
    assert found is not None
    assert found.size == 0
    with side.reader.stream(KEY, 0, 0) as pieces:
        assert list(pieces) == []


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, len(DATA)), (0, 1), (len(DATA) - 1, len(DATA)), (1000, 700_000), (7, 7)],
)
def test_ranges(side: Side, start: int, end: int) -> None:
    side.writer.create(KEY, DATA)

    with side.reader.stream(KEY, start, end) as pieces:
        assert b"".join(map(bytes, pieces)) == DATA[start:end]


@pytest.mark.parametrize("start", [0, 100, len(DATA), len(DATA) + 5])
def test_a_range_beyond_the_end_is_an_error(side: Side, start: int) -> None:
    side.writer.create(KEY, DATA)

    with (
        pytest.raises(StoreError, match=r"expected|shorter"),
        side.reader.stream(KEY, start, len(DATA) + 10) as pieces,
    ):
        list(pieces)


def test_a_stream_may_be_left_early(side: Side) -> None:
    side.writer.create(KEY, DATA)

    with side.reader.stream(KEY, 0, len(DATA)) as pieces:
        next(pieces)

    assert side.reader.read(KEY, limit=len(DATA))[0] == DATA


@pytest.mark.parametrize("key", BAD_KEYS)
def test_keys_cannot_leave_the_store(side: Side, key: str) -> None:
    for use in (side.reader.head, lambda key: side.reader.read(key, limit=9)):
        with pytest.raises(StoreError, match="expected a key"):
            use(key)
    with pytest.raises(StoreError, match="expected a key"), side.reader.stream(key, 0, 1):
        pass


def test_a_new_content_is_seen_at_once(side: Side) -> None:
    token = side.writer.create("index.json", b"old")
    assert side.reader.read("index.json", limit=9)[0] == b"old"

    side.writer.replace("index.json", b"new", token)

    assert side.reader.read("index.json", limit=9)[0] == b"new"
