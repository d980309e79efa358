"""A relay in front of a server on loopback, which counts bytes and answers."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_PIECE_BYTES = 1 << 16


@dataclass
class Relay:
    """Everything that went through: HTTP's headers count as its bodies do."""

    url: str
    sent: int = 0
    """Bytes from clients to the server."""
    received: int = 0
    """Bytes from the server to clients."""
    answers: int = 0
    on_answer: Callable[[int], None] = lambda _count: None
    """Called before an answer is handed on, with how many there were."""
    on_data: Callable[[], None] = lambda: None
    """Called before a piece is handed on, when it is counted."""
    cut_after: int | None = None
    """Bytes to and from the server after which the line is dead; None for never."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def reset(self) -> None:
        """Count from 0."""
        with self._lock:
            self.sent = self.received = self.answers = 0

    @property
    def is_cut(self) -> bool:
        """Whether connections break, and new ones are refused."""
        return self.cut_after is not None and self.sent + self.received >= self.cut_after

    def note(self, data: bytes, *, is_answer: bool) -> None:
        """Count a piece; answers begin with a piece, as clients wait for one before they ask on."""
        with self._lock:
            if not is_answer:
                self.sent += len(data)
                self.on_data()
                return
            self.received += len(data)
            self.on_data()
            if not data.startswith(b"HTTP/1.1 ") or data.startswith(b"HTTP/1.1 100"):
                return
            self.answers += 1
            self.on_answer(self.answers)


@contextmanager
def relay_to(url: str) -> Iterator[Relay]:
    """Relay connections to a free port of 127.0.0.1 to the server at `url`."""
    target = urlsplit(url)
    assert target.hostname is not None
    assert target.port is not None
    address = target.hostname, target.port
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = Relay(f"http://127.0.0.1:{listener.getsockname()[1]}")
        threading.Thread(target=_accept, args=(listener, address, relay), daemon=True).start()
        try:
            yield relay
        finally:
            # Closing alone does not wake the thread that waits for connections.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, address: tuple[str, int], relay: Relay) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        try:
            if relay.is_cut:
                raise ConnectionError
            server = socket.create_connection(address)
        except OSError:
            client.close()
            continue
        for source, sink, is_answer in ((client, server, False), (server, client, True)):
            threading.Thread(
                target=_pump, args=(source, sink, relay, is_answer), daemon=True
            ).start()


def _pump(source: socket.socket, sink: socket.socket, relay: Relay, is_answer: bool) -> None:
    with suppress(OSError):
        while data := source.recv(_PIECE_BYTES):
            relay.note(data, is_answer=is_answer)
            if relay.is_cut:
                break
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
