"""Trying again after failures that pass: dropped connections, busy servers."""

import logging
import time
from collections.abc import Callable

from ptefoundry.errors import SourceError

_log = logging.getLogger(__name__)

RETRY_DELAYS_S: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
"""Seconds to wait before each further try."""
_LONGEST_WAIT_S = 30.0


class TransientError(SourceError):
    """A failure that may be over at the next try."""

    def __init__(self, text: str, *, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s
        """Seconds that the server asked to wait."""


def with_retries(attempt: Callable[[], None], *, position: Callable[[], int]) -> None:
    """Repeat `attempt` while it fails for passing reasons.

    The count of tries starts again whenever `position` (bytes that have arrived)
    goes beyond where it ever was, so a long download over a bad line ends, and
    one that always breaks at the same place does too.

    Raises:
        SourceError: the last try's failure; that of a lasting reason at once.
    """
    furthest, failures = position(), 0
    while True:
        try:
            return attempt()
        except TransientError as error:
            if position() > furthest:
                furthest, failures = position(), 0
            if failures == len(RETRY_DELAYS_S):
                raise
            delay = min(max(RETRY_DELAYS_S[failures], error.wait_s), _LONGEST_WAIT_S)
            failures += 1
            _log.warning("%s; trying again in %.1f s", error, delay)
            time.sleep(delay)
