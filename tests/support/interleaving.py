"""Actors that share a store and take turns at each of its calls, in an order from a seed.

Each actor is a thread that holds a baton: it runs until it is about to call the store,
or has just been answered, and hands the baton back. So a run is deterministic, and an
actor may be stalled, or killed, between any two steps of the protocol, and also after a
request took effect but before its answer arrived.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ptefoundry.registry.store.interface import Advance, ObjectInfo
from ptefoundry.registry.store.memory import MemoryStore

_Result = TypeVar("_Result")


class Killed(BaseException):
    """Ends an actor as a kill does: nothing catches it, and cleaning up has no effect."""


class Inline:
    """Takes the place of a thread pool: an actor is one thread."""

    def __init__(self, _threads: int) -> None:
        pass

    def __enter__(self) -> "Inline":
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def map(self, function: Callable[..., _Result], *items: Any) -> Iterator[_Result]:
        return map(function, *items)


class Actor:
    """A process: something that calls a store, one call at a time."""

    def __init__(self, label: str, work: Callable[["Actor"], None], clock: Callable[[], float]):
        self.label = label
        self.clock = clock
        self.done = False
        self.error: BaseException | None = None
        self.pending: tuple[str, str] | None = None
        """The call that has not taken effect yet: method and key."""
        self.pending_since = 0.0
        self.last: tuple[str, str] | None = None
        """The call that took effect last."""
        self.effect_at = 0.0
        """When its last call took effect."""
        self.asleep_until = 0
        """Step before which the world does not let it run."""
        self.stopped_at = 0
        """Step at which the world let it run last."""
        self._killed = False
        # Locks that one side acquires and the other releases: the quickest baton.
        self._mine, self._back = threading.Lock(), threading.Lock()
        self._mine.acquire()
        self._back.acquire()
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def step(self) -> None:
        """Let it run to its next stop."""
        self._mine.release()
        self._back.acquire()

    def kill(self) -> None:
        """End it where it stands."""
        self._killed = True
        self.pending = None
        self.step()

    def call(self, method: str, key: str, effect: Callable[[], _Result]) -> _Result:
        """Stop, let a call take effect, stop again, return its answer."""
        self._stop((method, key))
        try:
            return effect()
        finally:
            self.effect_at, self.last = self.clock(), (method, key)
            self._stop(None)

    def _stop(self, pending: tuple[str, str] | None) -> None:
        if self._killed:
            raise Killed
        self.pending, self.pending_since = pending, self.clock()
        self._back.release()
        self._mine.acquire()
        if self._killed:
            raise Killed
        self.pending = None

    def _run(self, work: Callable[["Actor"], None]) -> None:
        self._mine.acquire()
        try:
            if not self._killed:
                work(self)
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001  the test looks at it
            self.error = error
        self.done = True
        self._back.release()


class ActorsStore:
    """One actor's way to a store."""

    def __init__(self, store: MemoryStore, actor: Actor) -> None:
        self.url, self.can_list = store.url, True
        self._store, self._actor = store, actor

    def head(self, key: str) -> ObjectInfo | None:
        return self._actor.call("head", key, lambda: self._store.head(key))

    def read(self, key: str, *, limit: int) -> tuple[bytes, str]:
        return self._actor.call("read", key, lambda: self._store.read(key, limit=limit))

    @contextmanager
    def stream(self, key: str, start: int, end: int) -> Iterator[Iterator[bytes]]:
        def effect() -> list[bytes]:
            with self._store.stream(key, start, end) as pieces:
                return list(pieces)

        yield iter(self._actor.call("stream", key, effect))

    def create(self, key: str, data: bytes) -> str:
        return self._actor.call("create", key, lambda: self._store.create(key, data))

    def replace(self, key: str, data: bytes, token: str) -> str:
        return self._actor.call("replace", key, lambda: self._store.replace(key, data, token))

    def upload(self, key: str, path: Path, *, sha256: str, advance: Advance) -> None:
        def effect() -> None:
            self._store.upload(key, path, sha256=sha256, advance=advance)

        self._actor.call("upload", key, effect)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter(self._actor.call("list", prefix, lambda: [*self._store.list(prefix)]))

    def delete(self, key: str) -> None:
        self._actor.call("delete", key, lambda: self._store.delete(key))

    def drop_unfinished(self, older_than_s: float) -> int:
        return self._store.drop_unfinished(older_than_s)
