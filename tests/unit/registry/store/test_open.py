"""Addresses of stores."""

from dataclasses import fields
from pathlib import Path
from urllib.parse import quote

import pytest

from ptefoundry.base.sources.http import is_loopback
from ptefoundry.cli.registry_access import Access
from ptefoundry.errors import ConfigError
from ptefoundry.registry import resolve as resolving
from ptefoundry.registry.names import Reference
from ptefoundry.registry.registry import Registry
from ptefoundry.registry.store.file import FileStore
from ptefoundry.registry.store.http import HttpStore
from ptefoundry.registry.store.open import open_store
from ptefoundry.registry.store.probe import Capabilities
from ptefoundry.registry.store.s3 import S3Store
from ptefoundry.registry.trust.seen import SeenRecords


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.chdir(tmp_path)


def test_folders(tmp_path: Path) -> None:
    folder = tmp_path / "a registry"
    for url in (f"file:{folder}", "file:a registry", f"file://{quote(str(folder))}"):
        store = open_store(url)
        assert isinstance(store, FileStore)
        assert store.url == f"file:{folder}/"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://models", "s3://models/"),
        ("s3://models/", "s3://models/"),
        ("s3://models/a/b", "s3://models/a/b/"),
        ("s3://models/a/b/", "s3://models/a/b/"),
    ],
)
def test_buckets(url: str, name: str) -> None:
    store = open_store(url, endpoint_url="http://127.0.0.1:8333")

    assert isinstance(store, S3Store)
    assert store.url == name
    assert store.bucket.client.meta.endpoint_url == "http://127.0.0.1:8333"


@pytest.mark.parametrize(
    "url", ["https://models.example", "https://models.example/a/b/", "http://127.0.0.1:80/x"]
)
def test_web_servers(url: str) -> None:
    store = open_store(url)

    assert isinstance(store, HttpStore)
    assert store.url == url.rstrip("/") + "/"
    store.close()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("models", "file:folder, s3://bucket/prefix or, to read only, https://host/path"),
        ("ftp://models.example/x", "expected the address of a registry"),
        ("file:", "expected file:folder"),
        ("file://host/folder", "expected file:folder"),
        ("s3:models", "expected s3://bucket/prefix"),
        ("s3:///prefix", "expected s3://bucket/prefix"),
        ("s3://models/../x", "expected the beginning of a key"),
        ("https:models", "expected https://host/path"),
        ("https://models.example:x/", "expected https://host/path"),
        ("https://models.example/?a=b", r"without \? and #"),
        ("https://me:secret@models.example/", "found a login inside the URL of models.example,"),
        ("http://models.example/", "http is for this machine alone; use https"),
    ],
)
def test_refusals(url: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_endpoints_are_for_s3_alone() -> None:
    with pytest.raises(ConfigError, match="leave it out"):
        open_store("file:x", endpoint_url="http://127.0.0.1")
    with pytest.raises(ConfigError, match="boto3 cannot be set up"):
        open_store("s3://models", endpoint_url="no url")


def test_unknown_profiles_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    with pytest.raises(ConfigError, match="nobody"):
        open_store("s3://models")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example", "10.0.0.1", "0.0.0.0", ""])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_buckets_of_one_name_are_told_apart_by_their_endpoints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client must not take one's channels for old ones of the other."""
    remembered: list[SeenRecords] = []
    monkeypatch.setattr(resolving, "resolve", lambda *_, seen, **__: remembered.append(seen))
    for endpoint in ("http://a.example", "http://b.example"):
        store = open_store("s3://models", endpoint_url=endpoint)
        capabilities = Capabilities(**{one.name: True for one in fields(Capabilities)})
        access = Access(registry=Registry(store, capabilities), policy=None)
        access.resolve(Reference("tiny", channel="stable"))
    assert [one.registry for one in remembered] == [
        "http://a.example s3://models/",
        "http://b.example s3://models/",
    ]
