"""Receiving the body of an answer into one buffer.

urllib3 makes new `bytes` of each piece, which costs more than hashing it: memory that is
touched for the first time is dear. The answer of http.client below it fills a buffer
that is there already. A body that is not plain bytes of known length is left to urllib3.
"""

import http.client
from collections.abc import Iterator
from typing import Any

from ptefoundry.registry.store.interface import Piece
from ptefoundry.registry.store.resuming import BrokenStreamError

PIECE_BYTES = 256 << 10
"""Bytes received at a time; so few that they stay in the processor's cache until hashed."""


def received(answer: Any, *, label: str) -> Iterator[Piece] | None:
    """Pieces of an answer's body, each valid until the next; None for one that is not plain.

    The connection goes back to its pool after the last one; whoever stops earlier
    closes the answer.

    Args:
        answer: of urllib3, of which nothing has been read.
        label: names the object in messages.

    Raises:
        BrokenStreamError: the connection failed or stalled; raised by the iterator.
    """
    source = getattr(answer, "_fp", None)
    if not isinstance(source, http.client.HTTPResponse) or source.chunked or not source.length:
        return None
    return _pieces(answer, source, memoryview(bytearray(min(PIECE_BYTES, source.length))), label)


def _pieces(
    answer: Any, source: http.client.HTTPResponse, buffer: memoryview, label: str
) -> Iterator[Piece]:
    while not source.isclosed():
        try:
            count = source.readinto(buffer)
        except (OSError, http.client.HTTPException) as error:
            raise BrokenStreamError(
                f"{label}: the connection failed ({error}); check the network"
            ) from error
        if count == 0:
            # It ended early. The connection is not given back.
            return
        if source.isclosed():
            answer.release_conn()
        yield buffer[:count]
