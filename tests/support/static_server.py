"""A web server for a folder, as any that knows GET, HEAD, ranges and ETags, on loopback."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.certificates import server_context

_PIECE_BYTES = 1 << 16


@dataclass
class Faults:
    """What goes wrong; the lists hold one entry per request, used up in turn."""

    cut_after: list[int] = field(default_factory=list)
    """Bytes of the body after which the connection is dropped."""
    statuses: list[int] = field(default_factory=list)
    """Statuses to answer with instead."""
    stalls: int = 0
    """Requests whose body never comes."""
    ignore_ranges: bool = False
    encoding: str | None = None
    """Content-Encoding that is claimed."""
    redirect_to: str | None = None
    no_etag: bool = False


@dataclass
class StaticServer:
    """Serves the files below `folder`; records requests and bytes of bodies sent."""

    folder: Path
    url: str = ""
    """Ends in a slash."""
    faults: Faults = field(default_factory=Faults)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """(method, path, headers in lower case)"""
    statuses: list[int] = field(default_factory=list)
    sent: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serve_folder(folder: Path, certificate: Path | None = None) -> Iterator[StaticServer]:
    """Run a server on a free port of 127.0.0.1 while the block runs; with a certificate by TLS."""
    state = StaticServer(folder)
    handler = type("Handler", (_Handler,), {"state": state})
    with _Server(("127.0.0.1", 0), handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}/"
        if certificate is not None:
            state.url = f"https://localhost:{server.server_address[1]}/"
            # In the thread of the connection, so that a client that hangs up disturbs nobody.
            server.socket = server_context(certificate).wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            state.stopping.set()
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: StaticServer

    def do_GET(self) -> None:
        state, faults = self.state, self.state.faults
        headers = {name.lower(): value for name, value in self.headers.items()}
        state.requests.append((self.command, self.path, headers))
        path = state.folder / self.path.lstrip("/")
        if faults.statuses:
            return self._send_nothing(faults.statuses.pop(0))
        if faults.redirect_to:
            return self._send_nothing(302, Location=faults.redirect_to + self.path)
        if not path.is_file():
            return self._send_nothing(404)
        found = path.stat()
        etag = "" if faults.no_etag else f'"{found.st_ino:x}-{found.st_mtime_ns:x}"'
        if etag and headers.get("if-none-match") == etag:
            return self._send_nothing(304, ETag=etag)
        start, end = self._range(headers, etag, found.st_size)
        if start >= found.st_size and start:
            return self._send_nothing(416)
        status = 200 if (start, end) == (0, found.st_size) else 206
        self._send_head(status, end - start, ETag=etag, Date=formatdate(found.st_mtime))
        if self.command != "HEAD":
            self._send_body(path, start, end)
        return None

    do_HEAD = do_GET  # noqa: N815

    def _range(self, headers: dict[str, str], etag: str, size: int) -> tuple[int, int]:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)?", headers.get("range", ""))
        unchanged = headers.get("if-range", etag) == etag
        if not found or not unchanged or self.state.faults.ignore_ranges:
            return 0, size
        start = int(found[1])
        end = min(int(found[2]) + 1, size) if found[2] else size
        self._content_range = f"bytes {start}-{end - 1}/{size}"
        return start, end

    def _send_head(self, status: int, length: int, *, ETag: str, Date: str) -> None:  # noqa: N803
        self.state.statuses.append(status)
        self.send_response_only(status)
        self.send_header("Content-Length", str(length))
        self.send_header("Last-Modified", Date)
        if ETag:
            self.send_header("ETag", ETag)
        if status == 206:
            self.send_header("Content-Range", self._content_range)
        if self.state.faults.encoding:
            self.send_header("Content-Encoding", self.state.faults.encoding)
        self.end_headers()

    def _send_nothing(self, status: int, **headers: str) -> None:
        self.state.statuses.append(status)
        self.send_response_only(status)
        if status != 304:
            self.send_header("Content-Length", "0")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_body(self, path: Path, start: int, end: int) -> None:
        state = self.state
        if state.faults.stalls:
            state.faults.stalls -= 1
            state.stopping.wait()
            self.close_connection = True
            return
        cut = state.faults.cut_after.pop(0) if state.faults.cut_after else end - start
        with path.open("rb") as file:
            file.seek(start)
            left = min(cut, end - start)
            while left:
                piece = file.read(min(_PIECE_BYTES, left))
                self.wfile.write(piece)
                state.sent += len(piece)
                left -= len(piece)
        if cut < end - start:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
