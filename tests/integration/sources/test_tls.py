"""Certificates are checked: an own authority has to be named in SSL_CERT_FILE."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from http_server import LoopbackServer, Reply

from ptefoundry.base.sources import FetchedSource
from ptefoundry.errors import SourceError
from support.certificates import make_certificate, server_context

Fetch = Callable[..., FetchedSource]


class _Handler(BaseHTTPRequestHandler):
    elsewhere = ""

    def do_GET(self) -> None:
        if self.path == "/moved.gguf":
            self.send_response(302)
            self.send_header("Location", self.elsewhere)
        else:
            self.send_response(200)
            self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"12345")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def url(certificate: Path) -> Iterator[str]:
    context = server_context(certificate)
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"https://localhost:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_unknown_certificate_is_refused_at_once(url: str, fetch_here: Fetch) -> None:
    with pytest.raises(SourceError, match="SSL_CERT_FILE"):
        fetch_here(f"{url}/model.gguf")


def test_named_authority_is_trusted(
    url: str, certificate: Path, fetch_here: Fetch, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    fetch_here(f"{url}/model.gguf")

    assert (into / "model.gguf").read_bytes() == b"12345"


def test_redirect_from_https_to_http_is_refused(
    url: str,
    web: LoopbackServer,
    files: dict[str, Reply],
    certificate: Path,
    fetch_here: Fetch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    files["/model.gguf"] = Reply(b"12345")
    monkeypatch.setattr(_Handler, "elsewhere", f"{web.url}/model.gguf")

    with pytest.raises(SourceError, match="redirects from https to http"):
        fetch_here(f"{url}/moved.gguf")
