"""Trying again after failures that pass: dropped connections, busy servers."""

import logging
import time
from collections.abc import Callable

from ptefoundry import retry
from ptefoundry.errors import SourceError

_log = logging.getLogger(__name__)


class TransientError(SourceError):
    """A failure that may be over at the next try."""

    def __init__(self, text: str, *, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s
        """Seconds that the server asked to wait."""


def with_retries(attempt: Callable[[], None], *, position: Callable[[], int]) -> None:
    """Repeat `attempt` while it fails for passing reasons.

    Args:
        attempt: what is tried.
        position: bytes that have arrived; see `Tries` for what it is good for.

    Raises:
        SourceError: the last try's failure; that of a lasting reason at once.
    """
    tries = retry.Tries(position(), delays_s=retry.RETRY_DELAYS_S)
    while True:
        try:
            return attempt()
        except TransientError as error:
            delay = tries.delay_s(position(), at_least_s=error.wait_s)
            if delay is None:
                raise
            _log.warning("%s; trying again in %.1f s", error, delay)
            time.sleep(delay)
