"""Against SeaweedFS: what a real store does."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest

from ptefoundry.base.sources import ADAPTER_FILES, FetchedSource
from ptefoundry.base.sources.cache import downloads
from ptefoundry.base.sources.partial import Partial
from ptefoundry.errors import DigestMismatchError, SourceError
from support.seaweedfs import S3Server

Fetch = Callable[..., FetchedSource]

CONTENT = bytes(range(256)) * 12_000
_numbers = itertools.count()


@pytest.fixture
def client(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    client = boto3.session.Session().client("s3")
    yield client
    client.close()


@pytest.fixture
def bucket(client: Any) -> str:
    name = f"models-{next(_numbers)}"
    client.create_bucket(Bucket=name)
    return name


def leave_partial(client: Any, cache: Path, bucket: str, key: str, size: int) -> None:
    """What a fetch leaves that was stopped after `size` bytes."""
    answer = client.get_object(Bucket=bucket, Key=key)
    partial = Partial(downloads(cache, f"s3://{bucket}/{key}"), key.rsplit("/", 1)[-1])
    partial.restart(answer["ETag"])
    partial.append([answer["Body"].read()[:size]], offset=0, advance=lambda _count: None)


def test_object(client: Any, bucket: str, fetch_here: Fetch, into: Path) -> None:
    client.put_object(Bucket=bucket, Key="a/model.gguf", Body=CONTENT)

    fetched = fetch_here(f"s3://{bucket}/a/model.gguf")

    assert (into / "model.gguf").read_bytes() == CONTENT
    assert fetched.digest == hashlib.sha256(CONTENT).hexdigest()


def test_prefix_gives_the_wanted_files(
    client: Any, bucket: str, fetch_here: Fetch, into: Path
) -> None:
    for name in ("config.json", "model.safetensors", "README.md", "onnx/model.safetensors"):
        client.put_object(Bucket=bucket, Key=f"base/{name}", Body=name.encode())

    fetched = fetch_here(f"s3://{bucket}/base/")

    assert sorted(fetched.files) == ["config.json", "model.safetensors"]
    assert (into / "model.safetensors").read_bytes() == b"model.safetensors"


def test_prefix_of_many_objects_is_listed_to_its_end(
    client: Any, bucket: str, fetch_here: Fetch
) -> None:
    def put(number: int) -> None:
        client.put_object(Bucket=bucket, Key=f"many/a{number:04}.txt", Body=b"")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(1005)))
    client.put_object(Bucket=bucket, Key="many/adapter_config.json", Body=b"{}")
    client.put_object(Bucket=bucket, Key="many/zero/adapter_config.json", Body=b"{}")
    client.put_object(Bucket=bucket, Key="many/adapter_model.safetensors", Body=b"w")

    fetched = fetch_here(f"s3://{bucket}/many/", wanted=ADAPTER_FILES)

    assert sorted(fetched.files) == ["adapter_config.json", "adapter_model.safetensors"]


def test_download_goes_on_where_it_stopped(
    client: Any,
    bucket: str,
    fetch_here: Fetch,
    into: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client.put_object(Bucket=bucket, Key="model.gguf", Body=CONTENT)
    leave_partial(client, cache, bucket, "model.gguf", 2_000_000)
    written: list[int] = []
    append = Partial.append

    def counting(self: Partial, chunks: Any, *, offset: int, advance: Any) -> None:
        append(self, chunks, offset=offset, advance=written.append)

    monkeypatch.setattr(Partial, "append", counting)

    fetch_here(f"s3://{bucket}/model.gguf")

    assert (into / "model.gguf").read_bytes() == CONTENT
    assert sum(written) == len(CONTENT) - 2_000_000 + 1


def test_changed_object_is_downloaded_from_its_start(
    client: Any, bucket: str, fetch_here: Fetch, into: Path, cache: Path
) -> None:
    client.put_object(Bucket=bucket, Key="model.gguf", Body=CONTENT)
    leave_partial(client, cache, bucket, "model.gguf", 2_000_000)
    other = bytes(reversed(CONTENT))
    client.put_object(Bucket=bucket, Key="model.gguf", Body=other)

    fetch_here(f"s3://{bucket}/model.gguf")

    assert (into / "model.gguf").read_bytes() == other


def test_other_content_than_pinned_is_forgotten(
    client: Any, bucket: str, fetch_here: Fetch, into: Path, cache: Path
) -> None:
    client.put_object(Bucket=bucket, Key="model.gguf", Body=CONTENT)

    with pytest.raises(DigestMismatchError):
        fetch_here(f"s3://{bucket}/model.gguf", digest="0" * 64)

    assert not into.exists()
    assert not list(cache.rglob("*.part"))


def test_empty_object(client: Any, bucket: str, fetch_here: Fetch, into: Path) -> None:
    client.put_object(Bucket=bucket, Key="model.gguf", Body=b"")

    fetch_here(f"s3://{bucket}/model.gguf")

    assert (into / "model.gguf").read_bytes() == b""


@pytest.mark.parametrize(
    ("key", "says"), [("missing.gguf", "no such object"), ("none/", "found nothing")]
)
def test_missing_key(key: str, says: str, bucket: str, fetch_here: Fetch) -> None:
    with pytest.raises(SourceError, match=says):
        fetch_here(f"s3://{bucket}/{key}")


def test_wrong_secret(
    client: Any, bucket: str, fetch_here: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.put_object(Bucket=bucket, Key="model.gguf", Body=CONTENT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")

    with pytest.raises(SourceError, match="the secret key is wrong"):
        fetch_here(f"s3://{bucket}/model.gguf")
