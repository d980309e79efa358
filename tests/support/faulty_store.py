"""A store that misbehaves as told: flips bits, cuts bodies, stalls, lies, disconnects.

A fault is chosen for each request for bytes (`read` and `stream`); all else goes to
the store behind it. What was asked for is counted, so that tests can tell who fetched what.
"""

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ptefoundry.errors import ObjectMissingError, StoreError, StoreRefusedError
from ptefoundry.registry.store.interface import Advance, ObjectInfo, Store


class Fault(Enum):
    """What happens to one request for bytes."""

    FLIP = "one bit of the body is another"
    CUT = "the body ends early, with an error"
    SHORT = "the body ends early, as if it were complete"
    LONG = "the body has more bytes than asked for"
    STALL = "the body stops in the middle, for ever"
    REFUSE = "the request fails"
    FORBID = "the request fails, as it always will"
    MISSING = "the object is said not to be there"


@dataclass(frozen=True)
class Request:
    """A request for bytes that was made."""

    key: str
    start: int
    end: int


Choose = Callable[[int, Request], Fault | None]
"""Given the number of earlier requests and this one, what goes wrong with it."""


def nth(fault: Fault, *numbers: int) -> Choose:
    """The fault at the requests of these numbers, counted from 0."""
    return lambda number, _request: fault if number in numbers else None


def always(fault: Fault) -> Choose:
    """The fault at every request."""
    return lambda _number, _request: fault


def at_random(seed: int, share: float, *faults: Fault) -> Choose:
    """One of the faults at about this share of the requests."""
    generator = random.Random(seed)
    return lambda _number, _request: (
        generator.choice(faults) if generator.random() < share else None
    )


class FaultyStore:
    """A `Store` in front of another one; see `Store` for the methods."""

    def __init__(self, inner: Store, choose: Choose = lambda _number, _request: None) -> None:
        self.inner = inner
        self.choose = choose
        self.requests: list[Request] = []
        self.sent = 0
        """Bytes of bodies that were handed out."""
        self._lock = threading.Lock()
        self._released = threading.Event()

    def release(self) -> None:
        """End all stalls, with an error for who still waits."""
        self._released.set()

    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def can_list(self) -> bool:
        return self.inner.can_list

    def head(self, key: str) -> ObjectInfo | None:
        return self.inner.head(key)

    def read(self, key: str, *, limit: int) -> tuple[bytes, str]:
        found = self.inner.head(key)
        fault = self._begin(key, 0, found.size if found else 0)
        self._refuse(fault, key)
        data, token = self.inner.read(key, limit=limit)
        body = b"".join(self._damage([data], len(data), fault))
        if len(body) > limit:
            raise StoreError(f"{self.url}{key}: expected at most {limit} bytes")
        return body, token

    @contextmanager
    def stream(self, key: str, start: int, end: int) -> Iterator[Iterator[bytes]]:
        fault = self._begin(key, start, end)
        self._refuse(fault, key)
        with self.inner.stream(key, start, end) as pieces:
            yield self._damage(pieces, end - start, fault)

    def create(self, key: str, data: bytes) -> str:
        return self.inner.create(key, data)

    def replace(self, key: str, data: bytes, token: str) -> str:
        return self.inner.replace(key, data, token)

    def upload(self, key: str, path: Path, *, sha256: str, advance: Advance) -> None:
        self.inner.upload(key, path, sha256=sha256, advance=advance)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def drop_unfinished(self, older_than_s: float) -> int:
        return self.inner.drop_unfinished(older_than_s)

    def _begin(self, key: str, start: int, end: int) -> Fault | None:
        request = Request(key, start, end)
        with self._lock:
            self.requests.append(request)
            return self.choose(len(self.requests) - 1, request)

    def _refuse(self, fault: Fault | None, key: str) -> None:
        if fault is Fault.REFUSE:
            raise StoreError(f"{self.url}{key}: connection refused, as this test wants it")
        if fault is Fault.FORBID:
            raise StoreRefusedError(f"{self.url}{key}: not for you, says this test")
        if fault is Fault.MISSING:
            raise ObjectMissingError(f"{self.url}{key}: there is no such object, says this test")

    def _damage(self, pieces: Iterable[bytes], size: int, fault: Fault | None) -> Iterator[bytes]:
        middle, at = size // 2, 0
        for piece in pieces:
            if fault in {Fault.CUT, Fault.SHORT, Fault.STALL} and at + len(piece) > middle:
                yield self._count(piece[: middle - at])
                self._stop(fault)
                return
            here = fault is Fault.FLIP and at <= middle < at + len(piece)
            yield self._count(_flip(piece, middle - at) if here else piece)
            at += len(piece)
        if fault is Fault.LONG:
            yield self._count(b"more")

    def _stop(self, fault: Fault | None) -> None:
        if fault is Fault.STALL:
            self._released.wait()
        if fault is not Fault.SHORT:
            raise StoreError(f"{self.url}: the connection broke, as this test wants it")

    def _count(self, piece: bytes) -> bytes:
        with self._lock:
            self.sent += len(piece)
        return piece


def _flip(piece: bytes, at: int) -> bytes:
    changed = bytearray(piece)
    changed[at] ^= 1
    return bytes(changed)
