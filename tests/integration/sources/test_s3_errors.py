"""Against moto: error codes that a small store does not produce on demand."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import botocore.exceptions
import pytest
from http_server import Faults, LoopbackServer, Reply
from moto import mock_aws

from ptefoundry.base.sources import FetchedSource
from ptefoundry.errors import SourceError

Fetch = Callable[..., FetchedSource]

SPEC = "s3://models/model.gguf"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="models")
        client.put_object(Bucket="models", Key="model.gguf", Body=b"GGUF")
        yield client


def answer(monkeypatch: pytest.MonkeyPatch, codes: list[str]) -> list[str]:
    """Answer the next requests with these error codes; returns those still to come."""
    client_type: Any = botocore.client.BaseClient
    call = client_type._make_api_call

    def failing(self: Any, operation: str, arguments: dict[str, Any]) -> Any:
        if codes:
            error: Any = {"Error": {"Code": codes.pop(0), "Message": "as asked"}}
            raise botocore.exceptions.ClientError(error, operation)
        return call(self, operation, arguments)

    monkeypatch.setattr(client_type, "_make_api_call", failing)
    return codes


def test_missing_bucket(client: Any, fetch_here: Fetch) -> None:
    with pytest.raises(SourceError, match="NoSuchBucket; there is no such bucket"):
        fetch_here("s3://others/model.gguf")


def test_missing_key(client: Any, fetch_here: Fetch, into: Path) -> None:
    with pytest.raises(SourceError, match="NoSuchKey; there is no such object"):
        fetch_here("s3://models/none.gguf")

    assert not into.exists()


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("AccessDenied", "set AWS_PROFILE"),
        ("ExpiredToken", "log in again"),
        ("InvalidAccessKeyId", "does not know this access key"),
        ("Unheard", "as asked"),
    ],
)
def test_refusal_is_final_and_says_what_to_do(
    code: str, advice: str, client: Any, fetch_here: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = answer(monkeypatch, [code, code])

    with pytest.raises(SourceError, match=f"answered {code}; .*{advice}"):
        fetch_here(SPEC)

    assert left == [code]


def test_cut_connection_is_continued(
    web: LoopbackServer,
    files: dict[str, Reply],
    fetch_here: Fetch,
    into: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = bytes(range(256)) * 8_000
    files["/models/model.gguf"] = Reply(content, etag='"v1"')
    web.faults = Faults(cut_after=[1_000_000])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.url)

    fetch_here(SPEC)

    assert (into / "model.gguf").read_bytes() == content
    first, second = web.requests
    assert "range" not in first.headers
    assert second.headers["if-match"] == '"v1"'
    assert sum(web.sent) < len(content) + 300_000


def test_no_credentials(fetch_here: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    with pytest.raises(SourceError, match="no S3 credentials; set AWS_PROFILE"):
        fetch_here(SPEC)


def test_unreachable_store(fetch_here: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    with pytest.raises(SourceError, match="check the network and AWS_ENDPOINT_URL"):
        fetch_here(SPEC)


def test_unknown_profile(fetch_here: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    with pytest.raises(SourceError, match="nobody"):
        fetch_here(SPEC)
