"""A web server on loopback that misbehaves as asked, and counts what it sends."""

import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Reply:
    """What a request is answered with."""

    content: bytes = b""
    status: int = 200
    etag: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    path: str
    headers: Mapping[str, str]
    """Names in lower case."""


@dataclass
class Faults:
    """What goes wrong; the lists hold one entry per request, used up in turn."""

    cut_after: list[int] = field(default_factory=list)
    """Bytes of the body after which the connection is dropped."""
    statuses: list[int] = field(default_factory=list)
    """Statuses to answer with instead."""
    pause_after: int | None = None
    """Bytes of the body after which nothing comes until `resume` is set."""
    ignore_ranges: bool = False
    ignore_if_range: bool = False
    omit_length: bool = False
    flip_bit_at: int | None = None
    """Offset in the file of a byte that arrives changed."""


@dataclass
class LoopbackServer:
    """Answers GET by `respond`; records requests and bytes of bodies sent."""

    respond: Callable[[Request], Reply]
    url: str = ""
    faults: Faults = field(default_factory=Faults)
    requests: list[Request] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    """Bytes of the body that went out, per request."""
    resume: threading.Event = field(default_factory=threading.Event)

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


@contextmanager
def serve(respond: Callable[[Request], Reply]) -> Iterator[LoopbackServer]:
    """Run a server on a free port of 127.0.0.1 while the block runs."""
    state = LoopbackServer(respond)
    handler = type("Handler", (_Handler,), {"state": state})
    with _Server(("127.0.0.1", 0), handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            state.resume.set()
            server.shutdown()
            thread.join()


def serving_files(files: Mapping[str, Reply]) -> Callable[[Request], Reply]:
    """Answer with the mapping's reply for a path; the mapping may change later."""
    return lambda request: files.get(request.path, Reply(status=404))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what is tested."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: LoopbackServer

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.path, headers)
        state, faults = self.state, self.state.faults
        index = len(state.requests)
        state.requests.append(request)
        state.sent.append(0)
        reply = state.respond(request)
        if faults.statuses:
            reply = Reply(status=faults.statuses.pop(0))
        start = self._start(reply, request)
        if start > len(reply.content):
            reply, start = Reply(status=416), 0
        self._send_head(reply, start)
        try:
            self._send_body(reply.content, start, index)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _start(self, reply: Reply, request: Request) -> int:
        found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if not found or reply.status != 200 or self.state.faults.ignore_ranges:
            return 0
        condition = request.headers.get("if-range", reply.etag)
        unchanged = condition == reply.etag or self.state.faults.ignore_if_range
        return int(found[1]) if unchanged else 0

    def _send_head(self, reply: Reply, start: int) -> None:
        total = len(reply.content)
        self.send_response(206 if start else reply.status)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if self.state.faults.omit_length:
            self.close_connection = True
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(total - start))
        if reply.etag:
            self.send_header("ETag", reply.etag)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_body(self, content: bytes, start: int, index: int) -> None:
        state, faults = self.state, self.state.faults
        body = bytearray(content)
        if faults.flip_bit_at is not None and faults.flip_bit_at < len(body):
            body[faults.flip_bit_at] ^= 1
        rest = memoryview(body)[start:]
        cut = faults.cut_after.pop(0) if faults.cut_after and rest else len(rest)
        while state.sent[index] < min(cut, len(rest)):
            begin = state.sent[index]
            if faults.pause_after is not None and begin >= faults.pause_after:
                state.resume.wait()
            piece = rest[begin : min(begin + _PIECE_BYTES, cut)]
            self.wfile.write(piece)
            state.sent[index] += len(piece)
        if cut < len(rest):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
