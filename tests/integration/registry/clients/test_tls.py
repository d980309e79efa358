"""Certificates are checked: by `ptefoundry` and by both clients."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptefoundry.errors import StoreError
from ptefoundry.registry.store.http import HttpStore
from support.certificates import make_certificate
from support.golden_registry import GOLDEN
from support.packed import NAME
from support.reference_clients import ReferenceClient
from support.static_server import StaticServer, serve_folder

KEY, STABLE = "registry.json", f"{NAME}:stable"


@pytest.fixture(autouse=True)
def closed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own authorities and proxies."""
    for name in list(os.environ):
        if name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(certificate: Path) -> Iterator[StaticServer]:
    with serve_folder(GOLDEN, certificate) as server:
        yield server


@pytest.fixture
def device(command: ReferenceClient, server: StaticServer, tmp_path: Path) -> ReferenceClient:
    return command.on(server.url, tmp_path / "device")


def test_a_store_trusts_the_authority_that_is_named(
    server: StaticServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    store = HttpStore(server.url)
    data, _ = store.read(KEY, limit=1 << 20)
    assert data == (GOLDEN / KEY).read_bytes()
    with store.stream(KEY, 3, 9) as pieces:
        assert b"".join(map(bytes, pieces)) == data[3:9]
    store.close()


def test_a_store_refuses_an_unknown_authority_at_once(server: StaticServer) -> None:
    before, store = len(server.requests), HttpStore(server.url)
    with pytest.raises(StoreError, match=r"certificate is not trusted .* set SSL_CERT_FILE"):
        store.read(KEY, limit=1 << 20)
    store.close()
    assert len(server.requests) == before


def test_a_store_refuses_the_certificate_of_another_host(
    server: StaticServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    store = HttpStore(server.url.replace("localhost", "127.0.0.1"))
    with pytest.raises(StoreError, match=r"certificate is not trusted .*mismatch"):
        store.head(KEY)
    store.close()


def test_clients_trust_the_authority_that_is_named(
    device: ReferenceClient, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"):
        monkeypatch.setenv(name, str(certificate))
    assert device.pull(STABLE)["version"] == "1.0.0"


def test_clients_refuse_an_unknown_authority(device: ReferenceClient) -> None:
    refusal = device.refusal(STABLE)
    assert refusal.startswith("error (network)")
    assert "certificate" in refusal
