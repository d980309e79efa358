"""S3 stores that refuse, answer too late, or do not do what they should."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.client
import botocore.exceptions
import pytest
from botocore.response import StreamingBody
from moto import mock_aws

from ptefoundry import s3
from ptefoundry.errors import (
    ConfigError,
    ObjectChangedError,
    ObjectExistsError,
    RegistryError,
    StoreError,
    StoreRefusedError,
)
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.store.probe import Capabilities, adapt, probe
from ptefoundry.registry.store.s3 import S3Store

KEY = "channels/name/stable.json"
BUCKET = "models"
Lose = Callable[[S3Store, str, int], list[str]]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Store]:
    """A store in moto, which answers as AWS does, but not to many at once."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = s3.connect()
        client.create_bucket(Bucket=BUCKET)
        yield S3Store(client, BUCKET, "registry/", cache=tmp_path / "uploads")


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Answer the next requests of one kind with an error."""

    def answer(operation: str, code: str, times: int = 1) -> None:
        left, client_type = [code] * times, botocore.client.BaseClient
        call = client_type._make_api_call

        def failing(self: Any, name: str, arguments: dict[str, Any]) -> Any:
            if name == operation and left:
                error: Any = {"Error": {"Code": left.pop(), "Message": "as asked"}}
                raise botocore.exceptions.ClientError(error, name)
            return call(self, name, arguments)

        monkeypatch.setattr(client_type, "_make_api_call", failing)

    return answer


@pytest.mark.parametrize(
    ("code", "advice", "lasts"),
    [
        ("AccessDenied", "may not do that: set AWS_PROFILE", True),
        ("ExpiredToken", "log in again", True),
        ("SlowDown", "run again later", False),
        ("NoSuchBucket", "check the name", True),
        ("NotImplemented", "If-None-Match", False),
        ("BadDigest", "changed on their way", False),
        ("Unheard", "as asked", False),
    ],
)
def test_refusals_are_explained(
    store: S3Store, answer: Callable[..., None], code: str, advice: str, *, lasts: bool
) -> None:
    answer("PutObject", code, 3)

    text = f"registry/{KEY}: the store answered {code}; .*{advice}"
    with pytest.raises(StoreError, match=text) as caught:
        store.create(KEY, b"one")
    assert isinstance(caught.value, StoreRefusedError) is lasts


def test_no_credentials(store: S3Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))

    with pytest.raises(StoreError, match="found no S3 credentials; set AWS_PROFILE"):
        S3Store(s3.connect(), BUCKET, "", cache=tmp_path).create(KEY, b"one")


def test_a_missing_object_that_may_not_be_listed(
    store: S3Store, answer: Callable[..., None]
) -> None:
    answer("HeadObject", "403")

    with pytest.raises(StoreError, match="or it is not there and they may not list"):
        store.head(KEY)


def test_no_server(monkeypatch: pytest.MonkeyPatch, store: S3Store, tmp_path: Path) -> None:
    client = s3.connect(endpoint_url="http://127.0.0.1:9")

    def refuse(_: Any) -> None:
        raise botocore.exceptions.EndpointConnectionError(endpoint_url="http://127.0.0.1:9")

    monkeypatch.setattr(client._endpoint.http_session, "send", refuse)
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(StoreError, match="check the network and AWS_ENDPOINT_URL"):
        S3Store(client, BUCKET, "", cache=tmp_path).create(KEY, b"one")


@pytest.mark.parametrize("code", ["409", "ConditionalRequestConflict"])
def test_others_writing_at_the_same_time_is_tried_again(
    store: S3Store, answer: Callable[..., None], code: str
) -> None:
    answer("PutObject", code, 2)
    token = store.create(KEY, b"one")
    answer("PutObject", code, 2)

    assert store.read(KEY, limit=9) == (b"one", token)
    assert store.replace(KEY, b"two", token)
    assert store.read(KEY, limit=9)[0] == b"two"


def test_a_store_that_never_writes_is_given_up(
    store: S3Store, answer: Callable[..., None], tmp_path: Path
) -> None:
    answer("PutObject", "409", 100)
    path = tmp_path / "file"
    path.write_bytes(b"file")
    digest = hashlib.sha256(b"file").hexdigest()

    with pytest.raises(StoreError, match="run again later"):
        store.create(KEY, b"one")
    with pytest.raises(StoreError, match="run again later"):
        store.upload("blobs/sha256/" + digest, path, sha256=digest, advance=lambda _: None)


def test_a_created_object_whose_answer_was_lost(s3_store: S3Store, lose_answers: Lose) -> None:
    lost = lose_answers(s3_store, "PutObject", 1)

    token = s3_store.create(KEY, b"one")

    assert lost == ["PutObject"]
    assert s3_store.read(KEY, limit=9) == (b"one", token)


def test_a_replaced_object_whose_answer_was_lost(s3_store: S3Store, lose_answers: Lose) -> None:
    old = s3_store.create(KEY, b"old")
    lost = lose_answers(s3_store, "PutObject", 2)

    token = s3_store.replace(KEY, b"new", old)

    assert lost == ["PutObject"] * 2
    assert s3_store.read(KEY, limit=9) == (b"new", token)


def test_an_uploaded_file_whose_answer_was_lost(
    s3_store: S3Store, lose_answers: Lose, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"file")
    digest = hashlib.sha256(b"file").hexdigest()
    lost = lose_answers(s3_store, "PutObject", 1)

    s3_store.upload("blobs/sha256/" + digest, path, sha256=digest, advance=lambda _: None)

    assert lost == ["PutObject"]


def test_a_conflict_is_one_even_after_a_lost_answer(s3_store: S3Store, lose_answers: Lose) -> None:
    old = s3_store.create(KEY, b"one")
    s3_store.replace(KEY, b"two", old)
    lose_answers(s3_store, "PutObject", 2)

    with pytest.raises(ObjectExistsError):
        s3_store.create(KEY, b"three")
    with pytest.raises(ObjectChangedError):
        s3_store.replace(KEY, b"three", old)


def test_a_reading_connection_that_breaks_is_resumed(
    s3_store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(range(256)) * 8192
    s3_store.create(KEY, data)
    client, ranges = s3_store.bucket.client, list[str]()
    get = client.get_object

    def cutting(**arguments: Any) -> Any:
        found = get(**arguments)
        ranges.append(arguments.get("Range", ""))
        if len(ranges) < 3:
            source = found["Body"]._raw_stream._fp
            source.readinto = _cut(source.readinto)
        return found

    monkeypatch.setattr(client, "get_object", cutting)
    assert streamed(s3_store, len(data)) == data
    assert ranges == [f"bytes={start}-{len(data) - 1}" for start in (0, 1 << 18, 2 << 18)]


def _cut(readinto: Callable[[memoryview], int]) -> Callable[[memoryview], int]:
    """One piece, then silence."""
    left = [readinto]

    def cut(buffer: memoryview) -> int:
        if not left:
            raise TimeoutError("timed out")
        return left.pop()(buffer)

    return cut


def streamed(store: S3Store, size: int) -> bytes:
    with store.stream(KEY, 0, size) as pieces:
        return b"".join(map(bytes, pieces))


def test_a_body_that_is_not_plain_is_left_to_boto3(
    s3_store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(range(256)) * 8192
    s3_store.create(KEY, data)
    client, read = s3_store.bucket.client, list[int]()
    get = client.get_object

    class Body(StreamingBody):
        def read(self, amt: int | None = None) -> bytes:
            piece = super().read(amt)
            read.append(len(piece))
            return bytes(piece)

    def other(**arguments: Any) -> Any:
        found = get(**arguments)
        found["Body"] = Body(found["Body"]._raw_stream, len(data))
        return found

    monkeypatch.setattr(client, "get_object", other)
    assert streamed(s3_store, len(data)) == data
    assert sum(read) == len(data)


def test_connections_are_used_again_unless_something_was_left_in_them(s3_store: S3Store) -> None:
    data = bytes(range(256)) * 8192
    s3_store.create(KEY, data)
    manager = s3_store.bucket.client._endpoint.http_session._manager
    (pool,) = (manager.pools[key] for key in manager.pools.keys())  # noqa: SIM118

    before = pool.num_connections
    for _ in range(3):
        assert streamed(s3_store, len(data)) == data
    assert pool.num_connections == before

    with s3_store.stream(KEY, 0, len(data)) as pieces:
        next(pieces)
    assert streamed(s3_store, len(data)) == data
    assert pool.num_connections == before + 1


def drop_header(store: S3Store, operation: str, header: str) -> None:
    """Make a store that ignores a header."""

    def drop(params: dict[str, Any], **_: Any) -> None:
        params["headers"].pop(header, None)

    store.bucket.client.meta.events.register(f"before-call.s3.{operation}", drop)


@pytest.mark.parametrize(
    ("operation", "header", "capability", "text"),
    [
        ("PutObject", "If-None-Match", "create_only", "only if there is none of its key"),
        ("PutObject", "If-Match", "compare_and_swap", "only if it is still a known one"),
        ("GetObject", "Range", "ranges", "reading a part"),
    ],
)
def test_the_probe_finds_what_a_store_ignores(
    s3_store: S3Store, operation: str, header: str, capability: str, text: str
) -> None:
    drop_header(s3_store, operation, header)

    found = probe(s3_store)

    assert [name for name, able in found.to_dict().items() if not able] == [capability]
    with pytest.raises(ConfigError, match=f"lacks: [^;]*{text}.*AWS S3"):
        found.check(label=s3_store.url)
    assert list(s3_store.list("")) == []


def test_ignored_checksums_and_conditions_of_completing_are_worked_around(
    s3_store: S3Store,
) -> None:
    drop_header(s3_store, "PutObject", "x-amz-checksum-sha256")
    drop_header(s3_store, "CompleteMultipartUpload", "If-None-Match")

    found = probe(s3_store)

    assert [name for name, able in found.to_dict().items() if not able] == [
        "checksum",
        "multipart_condition",
    ]
    found.check(label=s3_store.url)
    adapt(s3_store, found)
    assert not s3_store.bucket.takes_sha256


def test_the_probe_finds_a_store_that_only_looks_before_it_writes() -> None:
    class LooksFirst(MemoryStore):
        """Two of its writers at the same time may both find nothing there."""

        def create(self, key: str, data: bytes) -> str:
            found = self.head(key)
            if found is not None:
                return super().create(key, data)
            pause.wait(0.05)
            self.delete(key)
            return super().create(key, data)

    pause = threading.Event()

    assert not probe(LooksFirst()).create_only


def test_capabilities_are_read_back() -> None:
    found = probe(MemoryStore())

    assert Capabilities.from_dict(found.to_dict(), where="registry.json") == found
    for wrong in (None, {}, {**found.to_dict(), "list": 1}):
        with pytest.raises(RegistryError, match=r"registry.json: \w+: expected true or false"):
            Capabilities.from_dict(wrong, where="registry.json")


def test_uploads_of_others_are_left_alone(s3_store: S3Store) -> None:
    client, mine = s3_store.bucket.client, f"{s3_store.bucket.prefix}blobs/sha256/{'a' * 64}"
    for key in (mine, f"x{s3_store.bucket.prefix}key"):
        client.create_multipart_upload(Bucket=BUCKET, Key=key)

    assert s3_store.drop_unfinished(3600) == 0
    assert s3_store.drop_unfinished(0) == 1
    left = [item["Key"] for item in client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]]
    assert mine not in left
    assert f"x{s3_store.bucket.prefix}key" in left
