"""Reading over connections that break: what has arrived is not asked for again."""

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from ptefoundry.base.sources import retry
from ptefoundry.errors import StoreError

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_LONGEST_WAIT_S = 30.0


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
    pieces: Iterator[bytes]


Connect = Callable[[int, str], AbstractContextManager[Connection]]
"""Opens a connection to the bytes from a position on, of a version unless it is empty."""


def retried(attempt: Callable[[], _Result]) -> _Result:
    """Repeat `attempt` while connections break.

    Raises:
        BrokenStreamError: the last try's.
    """
    for delay in retry.RETRY_DELAYS_S:
        try:
            return attempt()
        except BrokenStreamError as error:
            _wait(error, delay)
    return attempt()


@contextmanager
def resumed(connect: Connect, start: int, end: int, *, label: str) -> Iterator[Iterator[bytes]]:
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


def _pieces(connect: Connect, start: int, end: int, label: str) -> Generator[bytes, None, None]:
    """Yields an empty piece once the first connection is open."""
    position, version, failures, opened = start, "", 0, False
    while position < end:
        before = position
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
            failures = 0 if position > before else failures
            if failures == len(retry.RETRY_DELAYS_S):
                raise
            _wait(error, retry.RETRY_DELAYS_S[failures])
            failures += 1


def _wait(error: BrokenStreamError, delay: float) -> None:
    delay = max(delay, min(error.wait_s, _LONGEST_WAIT_S))
    _log.warning("%s; trying again in %.1f s", error, delay)
    time.sleep(delay)
