"""A store in memory that dies at its n-th change, as its user would if it were killed."""

import itertools
from collections.abc import Callable, Iterator

from ptefoundry.registry.store.memory import MemoryStore


class Killed(BaseException):
    """Ends a push as a kill does: nothing catches it."""


class KillingStore(MemoryStore):
    """Lets some changes take effect, then none any more."""

    def __init__(self, changes: float, *, now: float) -> None:
        """Begin empty.

        Args:
            changes: how many take effect.
            now: seconds since 1970; it stands still.
        """
        super().__init__(clock=lambda: now)
        self.left = changes

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed

    def create(self, key: str, data: bytes) -> str:
        self._count()
        return super().create(key, data)

    def replace(self, key: str, data: bytes, token: str) -> str:
        self._count()
        return super().replace(key, data, token)

    def delete(self, key: str) -> None:
        self._count()
        super().delete(key)


def killed_everywhere(
    work: Callable[[KillingStore], object], *, now: float
) -> Iterator[KillingStore]:
    """Stores on which some work was killed: before its first change, its second, up to its end."""
    for changes in itertools.count():
        store = KillingStore(changes, now=now)
        try:
            work(store)
        except Killed:
            store.left = float("inf")
            yield store
        else:
            return
