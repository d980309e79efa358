"""Reading over connections that break: what has arrived is not asked for again."""

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from ptefoundry import retry
from ptefoundry.errors import StoreError
from ptefoundry.registry.store.interface import Piece

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class BrokenStreamError(StoreError):
    """A connection failed or stalled, or the store is busy; the next try may not fail."""

    def __init__(self, text: str, *, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s
        """Seconds that the store asked to wait."""


@dataclass(frozen=True)
class Connection:
    """An answer that has begun to arrive."""

    version: str
    """Names the object's content, "" if the store does not."""
    pieces: Iterator[Piece]


Connect = Callable[[int, str], AbstractContextManager[Connection]]
"""Opens a connection to the bytes from a position on, of a version unless it is empty."""


def retried(attempt: Callable[[], _Result]) -> _Result:
    """Repeat `attempt` while connections break.

    Raises:
        BrokenStreamError: the last try's.
    """
    tries = _tries(0)
    while True:
        try:
            return attempt()
        except BrokenStreamError as error:
            _wait_or_raise(tries, error, 0)


@contextmanager
def resumed(connect: Connect, start: int, end: int, *, label: str) -> Iterator[Iterator[Piece]]:
    """Pieces of the bytes from `start` to before `end`, over as many connections as it takes.

    The count of tries starts again whenever bytes have arrived. The first connection is
    open before the block begins, so that an object that is not there is known at once.

    Raises:
        StoreError: the connections always break at one place, or the object is shorter
            than `end`; raised by the iterator.
    """
    pieces = _pieces(connect, start, end, label)
    next(pieces)
    try:
        yield pieces
    finally:
        pieces.close()


def _pieces(connect: Connect, start: int, end: int, label: str) -> Generator[Piece, None, None]:
    """Yields an empty piece once the first connection is open."""
    position, version, opened = start, "", False
    tries = _tries(start)
    while position < end:
        try:
            with connect(position, version) as connection:
                version = connection.version
                if not opened:
                    opened = True
                    yield b""
                for piece in connection.pieces:
                    if len(piece) > end - position:
                        raise StoreError(f"{label}: the store sent more bytes than asked for")
                    position += len(piece)
                    yield piece
            if position < end:
                raise BrokenStreamError(f"{label}: expected {end} bytes, received {position}")
        except BrokenStreamError as error:
            _wait_or_raise(tries, error, position)


def _tries(position: int) -> retry.Tries:
    return retry.Tries(position, delays_s=retry.RETRY_DELAYS_S, spread=retry.jitter)


def _wait_or_raise(tries: retry.Tries, error: BrokenStreamError, position: int) -> None:
    delay = tries.delay_s(position, at_least_s=error.wait_s)
    if delay is None:
        raise error
    _log.warning("%s; trying again in %.1f s", error, delay)
    time.sleep(delay)
