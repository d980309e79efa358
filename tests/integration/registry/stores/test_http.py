"""Reading over HTTP from servers that do not do as they should."""

from pathlib import Path

import httpx2
import pytest

from ptefoundry.errors import ObjectMissingError, StoreError
from ptefoundry.registry.store.file import FileStore
from ptefoundry.registry.store.http import HttpStore
from support.static_server import StaticServer

KEY = "blobs/sha256/" + "a" * 64
DATA = bytes(range(256)) * 4096


@pytest.fixture(autouse=True)
def _filled(served: StaticServer) -> None:
    FileStore(served.folder).create(KEY, DATA)


def read_range(store: HttpStore, start: int, end: int) -> bytes:
    with store.stream(KEY, start, end) as pieces:
        return b"".join(map(bytes, pieces))


def test_a_broken_connection_is_resumed_where_it_broke(
    served: StaticServer, http_store: HttpStore
) -> None:
    served.faults.cut_after += [100_000, 0, 300_000]

    assert read_range(http_store, 0, len(DATA)) == DATA

    assert len(served.requests) == 4
    assert served.sent == len(DATA)


def test_a_connection_that_always_breaks_at_one_place_is_given_up(
    served: StaticServer, http_store: HttpStore
) -> None:
    served.faults.cut_after += [0] * 100

    with pytest.raises(StoreError, match="check the network"):
        read_range(http_store, 0, len(DATA))


def test_a_stall_ends_in_a_new_request(
    served: StaticServer, http_store: HttpStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_store._client, "timeout", httpx2.Timeout(0.3))
    served.faults.stalls = 2

    assert read_range(http_store, 5, 1000) == DATA[5:1000]
    assert len(served.requests) == 3


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(
    served: StaticServer, http_store: HttpStore, status: int
) -> None:
    served.faults.statuses += [status] * 3
    assert http_store.read(KEY, limit=len(DATA))[0] == DATA

    served.faults.statuses += [status] * 10
    with pytest.raises(StoreError, match=f"answered {status}"):
        http_store.head(KEY)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_a_stranger_may_not_list_is_not_there(
    served: StaticServer, http_store: HttpStore, status: int
) -> None:
    served.faults.statuses += [status] * 2

    assert http_store.head(KEY) is None
    with pytest.raises(ObjectMissingError, match=f"answered {status}"):
        http_store.read(KEY, limit=len(DATA))


def test_other_statuses_are_errors(served: StaticServer, http_store: HttpStore) -> None:
    served.faults.statuses += [401]

    with pytest.raises(StoreError, match="answered 401; check the address"):
        http_store.read(KEY, limit=len(DATA))


def test_a_server_that_ignores_ranges_is_noticed(
    served: StaticServer, http_store: HttpStore
) -> None:
    served.faults.ignore_ranges = True

    assert read_range(http_store, 0, len(DATA)) == DATA
    assert read_range(http_store, 0, 5000) == DATA[:5000]
    with pytest.raises(StoreError, match="it ignores ranges"):
        read_range(http_store, 5, 5000)


def test_encoded_bodies_are_refused(served: StaticServer, http_store: HttpStore) -> None:
    served.faults.encoding = "gzip"

    with pytest.raises(StoreError, match=r"encoded \(gzip\)"):
        http_store.read(KEY, limit=len(DATA))
    assert served.requests[0][2]["accept-encoding"] == "identity"


def test_an_object_that_changes_between_two_connections(
    served: StaticServer, http_store: HttpStore
) -> None:
    served.faults.cut_after += [200_000]
    with http_store.stream(KEY, 0, len(DATA)) as pieces:
        next(pieces)
        path = served.folder / KEY
        path.unlink()
        path.write_bytes(DATA[::-1])
        with pytest.raises(StoreError, match="changed while it was read"):
            list(pieces)


def test_what_is_known_is_not_sent_again(served: StaticServer, http_store: HttpStore) -> None:
    store = FileStore(served.folder)
    token = store.create("index.json", b"old")

    assert http_store.read("index.json", limit=9)[0] == b"old"
    assert http_store.read("index.json", limit=9)[0] == b"old"
    assert served.statuses == [200, 304]
    with pytest.raises(StoreError, match="at most 2 bytes"):
        http_store.read("index.json", limit=2)

    store.replace("index.json", b"new", token)
    assert http_store.read("index.json", limit=9)[0] == b"new"


def test_a_server_without_etags(served: StaticServer, http_store: HttpStore) -> None:
    served.faults.no_etag = True
    served.faults.cut_after += [100_000]

    assert read_range(http_store, 0, len(DATA)) == DATA
    assert http_store.read(KEY, limit=len(DATA)) == (DATA, "")


def test_connections_are_kept(http_store: HttpStore, served: StaticServer) -> None:
    for _ in range(5):
        read_range(http_store, 0, 10)

    (pool,) = (http_store._client._transport._pool,)
    assert len(pool.connections) == 1


def test_a_redirect_within_http_is_followed(
    served: StaticServer, http_store: HttpStore, tmp_path: Path
) -> None:
    from support.static_server import serve_folder

    FileStore(tmp_path / "other").create(KEY, DATA)
    with serve_folder(tmp_path / "other") as other:
        served.faults.redirect_to = other.url.rstrip("/")
        assert http_store.read(KEY, limit=len(DATA))[0] == DATA


def test_a_redirect_out_of_https_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def respond(request: httpx2.Request) -> httpx2.Response:
        if request.url.scheme == "https":
            return httpx2.Response(302, headers={"Location": f"http://models.test/{KEY}"})
        return httpx2.Response(200, content=DATA)

    store = HttpStore("https://models.test/")
    transport = httpx2.MockTransport(respond)
    monkeypatch.setattr(store, "_client", httpx2.Client(transport=transport, follow_redirects=True))

    with pytest.raises(StoreError, match="redirects from https to http"):
        store.read(KEY, limit=len(DATA))


def test_only_reading(http_store: HttpStore, tmp_path: Path) -> None:
    uses = [
        lambda: http_store.create(KEY, b""),
        lambda: http_store.replace(KEY, b"", ""),
        lambda: http_store.delete(KEY),
        lambda: http_store.upload(KEY, tmp_path, sha256="", advance=lambda _: None),
    ]
    for use in uses:
        with pytest.raises(StoreError, match="can only be read; use its s3://"):
            use()
    with pytest.raises(StoreError, match="does not say what it holds"):
        http_store.list("")
