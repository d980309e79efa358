"""Threads that carry out requests, again after failures that pass and after stalls.

A thread that waits for bytes cannot be interrupted. So each try of a job is an
`Attempt` that can be given up from outside: another thread goes on with the job,
and the old one, whenever it wakes, is refused at the first thing that it wants to
change. The threads live as long as their crew, so a store's connections are reused.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from ptefoundry.errors import ObjectMissingError, StoreError, StoreRefusedError
from ptefoundry.registry.parallel import BLOB_THREADS
from ptefoundry.retry import RETRY_DELAYS_S, Tries, jitter

_TICK_S = 0.1
_LASTING = (ObjectMissingError, StoreRefusedError)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a store is waited for, and how often it is asked again."""

    stall_s: float = 30.0
    """Seconds without a byte after which a request is made anew."""
    free_stalls: int = 3
    """Stalls in a row that do not count as failures."""
    delays_s: tuple[float, ...] = RETRY_DELAYS_S
    """Seconds to wait before each further try."""


class GivenUpError(Exception):
    """The attempt was given up; whoever made it ends."""


class Attempt:
    """One try of a job; it may change what others share only within `alive`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given_up = False
        self._moved_at = time.monotonic()

    @contextmanager
    def alive(self) -> Iterator[None]:
        """A block during which the attempt is not given up; each shows that it moves.

        Raises:
            GivenUpError: it has been given up.
        """
        with self._lock:
            if self._given_up:
                raise GivenUpError
            yield
            self._moved_at = time.monotonic()

    def give_up(self) -> None:
        """From now on `alive` refuses; waits for the end of a block that is under way."""
        with self._lock:
            self._given_up = True

    def give_up_stalled(self, stall_s: float) -> bool:
        """Give up if nothing moved for `stall_s` seconds; whether that was so."""
        # A lock that is held shows that bytes are being dealt with.
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._given_up = time.monotonic() - self._moved_at >= stall_s
            return self._given_up
        finally:
            self._lock.release()


class Job(Protocol):
    """Work that is tried until it is done. `run` goes on where an earlier try ended."""

    @property
    def label(self) -> str:
        """Names it in messages."""

    @property
    def position(self) -> int:
        """Bytes that have arrived, to tell a slow job from one that is stuck."""

    def run(self, attempt: Attempt) -> None:
        """Do all of it; a `StoreError` is tried again unless it is one that lasts."""


@dataclass(eq=False)
class _Task:
    job: Job
    tries: Tries
    stalls: int = 0
    ready_at: float = field(default=0.0)


class Crew:
    """Some threads; `run` has them carry out jobs."""

    def __init__(self, threads: int = BLOB_THREADS, *, patience: Patience | None = None) -> None:
        self._limit = threads
        self._patience = patience or Patience()
        self._changed = threading.Condition()
        self._waiting: deque[_Task] = deque()
        self._under_way: dict[Attempt, _Task] = {}
        self._failure: Exception | None = None
        self._threads = 0
        self._closed = False

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def run(self, jobs: Sequence[Job], *, tick: Callable[[], None]) -> None:
        """Carry out all jobs; afterwards no thread changes anything for them.

        Args:
            jobs: begun in this order.
            tick: called now and then in the calling thread.

        Raises:
            FoundryError: the first failure that lasts; the other jobs are dropped.
        """
        delays = self._patience.delays_s
        with self._changed:
            self._failure = None
            self._waiting.extend(
                _Task(job, Tries(job.position, delays_s=delays, spread=jitter)) for job in jobs
            )
            self._hire()
            self._changed.notify_all()
        try:
            self._await_end(tick)
        finally:
            self._drop_all()
        if self._failure is not None:
            raise self._failure

    def _await_end(self, tick: Callable[[], None]) -> None:
        while True:
            with self._changed:
                if self._failure is None and (self._waiting or self._under_way):
                    self._changed.wait(_TICK_S)
                self._restart_stalled()
                ended = self._failure is not None or not (self._waiting or self._under_way)
            tick()
            if ended:
                return

    def _restart_stalled(self) -> None:
        for attempt, task in list(self._under_way.items()):
            if not attempt.give_up_stalled(self._patience.stall_s):
                continue
            self._dismiss(attempt)
            if task.tries.moved(task.job.position):
                task.stalls = 0
            task.stalls += 1
            if task.stalls <= self._patience.free_stalls:
                self._waiting.appendleft(task)
            else:
                text = f"{task.job.label}: no bytes for {self._patience.stall_s:g} s"
                self._try_again(task, StoreError(f"{text}, {task.stalls} times"))
        self._hire()
        self._changed.notify_all()

    def _drop_all(self) -> None:
        with self._changed:
            self._waiting.clear()
            attempts = list(self._under_way)
            for attempt in attempts:
                self._dismiss(attempt)
        for attempt in attempts:
            attempt.give_up()

    def _dismiss(self, attempt: Attempt) -> None:
        """The attempt's thread ends when it wakes; others take its place."""
        del self._under_way[attempt]
        self._threads -= 1

    def _hire(self) -> None:
        wanted = min(self._limit, len(self._waiting) + len(self._under_way))
        for _ in range(wanted - self._threads):
            self._threads += 1
            # Daemons: a process does not wait for a store that does not answer.
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while found := self._next():
            attempt, task = found
            failure = None
            try:
                task.job.run(attempt)
            except Exception as error:  # noqa: BLE001  it is raised in the calling thread
                failure = error
            with self._changed:
                if attempt not in self._under_way:
                    return
                del self._under_way[attempt]
                if failure is not None:
                    self._try_again(task, failure)
                self._changed.notify_all()

    def _next(self) -> tuple[Attempt, _Task] | None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for task in self._waiting:
                    if task.ready_at <= now:
                        self._waiting.remove(task)
                        attempt = Attempt()
                        self._under_way[attempt] = task
                        return attempt, task
                soonest = min((task.ready_at for task in self._waiting), default=None)
                self._changed.wait(None if soonest is None else soonest - now)
            return None

    def _try_again(self, task: _Task, failure: Exception) -> None:
        lasting = isinstance(failure, _LASTING) or not isinstance(failure, StoreError)
        delay = None if lasting else task.tries.delay_s(task.job.position)
        if delay is None:
            self._failure = self._failure or failure
            return
        task.ready_at = time.monotonic() + delay
        self._waiting.append(task)
