"""How often and how soon something that may pass is tried again."""

import random
from collections.abc import Callable

RETRY_DELAYS_S: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
"""Seconds to wait before each further try."""
_LONGEST_WAIT_S = 30.0


class Tries:
    """The tries of one piece of work that moves bytes.

    Their count starts again whenever the position goes beyond where it ever was, so
    a long transfer over a bad line ends, and one that always breaks at the same
    place does too.
    """

    def __init__(
        self,
        position: int,
        *,
        delays_s: tuple[float, ...],
        spread: Callable[[], float] = lambda: 1.0,
    ) -> None:
        """Begin at `position`.

        Args:
            position: bytes that have arrived.
            delays_s: seconds to wait before each further try.
            spread: what a delay is multiplied with.
        """
        self._furthest = position
        self._delays_s = delays_s
        self._spread = spread
        self._failures = 0

    def moved(self, position: int) -> bool:
        """Whether `position` is beyond all earlier ones; then failures count anew."""
        if position <= self._furthest:
            return False
        self._furthest, self._failures = position, 0
        return True

    def delay_s(self, position: int, *, at_least_s: float = 0.0) -> float | None:
        """Seconds to wait after a failure at `position`; None to give up."""
        self.moved(position)
        if self._failures == len(self._delays_s):
            return None
        delay = self._delays_s[self._failures] * self._spread()
        self._failures += 1
        return min(max(delay, at_least_s), _LONGEST_WAIT_S)


def jitter() -> float:
    """A factor of 0.5 to 1, so that many clients do not come back at the same moment."""
    return 0.5 + random.random() / 2  # noqa: S311  no secret depends on it
