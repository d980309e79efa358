"""A command that runs in a container: its output, its end, stopping it."""

import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ptefoundry.container.failures import engine_errors
from ptefoundry.errors import ContainerError

if TYPE_CHECKING:
    from docker import APIClient

#: Numbers of the streams in what engines send.
_STDOUT, _STDERR = 1, 2
#: Signals from the kindest on, each with the seconds that it is given.
_STOPPING = ((signal.SIGINT, 30), (signal.SIGTERM, 10), (signal.SIGKILL, 10))


class RunningJob:
    """A container that this process has made."""

    def __init__(self, api: "APIClient", container: str) -> None:
        """`container` is its ID; it does not run yet."""
        self._api = api
        self._container = container
        self._connection: Any = None
        self._code: int | None = None

    def start(self) -> None:
        """Start it, connected with its stdin, stdout and stderr."""
        streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        self._connection = self._api.attach_socket(self._container, streams)
        self._api.start(self._container)

    def lines(self) -> Iterator[str]:
        """What it prints to stdout and stderr, line by line without their ends, as it comes.

        Raises:
            ContainerError: the engine is lost.
        """
        rests = {_STDOUT: b"", _STDERR: b""}
        with engine_errors("reading what a container prints"):
            for stream, piece in self._pieces():
                *complete, rests[stream] = (rests[stream] + piece).split(b"\n")
                for line in complete:
                    yield line.decode(errors="replace")
        yield from (rest.decode(errors="replace") for rest in rests.values() if rest)

    def wait(self) -> int:
        """Wait for its end; its exit code, 128 more than the number of a signal.

        Raises:
            ContainerError: the engine is lost, or the machine had too little memory.
        """
        if self._code is None:
            with engine_errors("waiting for a container"):
                self._code = int(self._api.wait(self._container, timeout=None)["StatusCode"])
                killed = self._api.inspect_container(self._container)["State"]["OOMKilled"]
            if killed:
                raise ContainerError(
                    "the container was killed as the machine, or the engine's part of it, ran out "
                    "of memory; give it more and run again"
                )
        return self._code

    def end(self) -> None:
        """Stop it if it runs, and remove it. An engine that is lost does so when it is back."""
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        with suppress(DockerException, RequestException, OSError):
            try:
                if self._code is None:
                    self._stop()
            finally:
                self._api.remove_container(self._container, force=True)
        if self._connection is not None:
            self._connection.close()

    def _stop(self) -> None:
        """By force if it takes too long or the user insists."""
        from docker.errors import APIError
        from requests.exceptions import Timeout

        for number, patience_s in _STOPPING:
            try:
                self._api.kill(self._container, number.name)
                self._api.wait(self._container, timeout=patience_s)
            except (Timeout, KeyboardInterrupt):
                continue
            except APIError:
                pass  # It has ended meanwhile, or never started.
            return

    def _pieces(self) -> Iterator[tuple[int, bytes]]:
        from docker.utils.socket import frames_iter

        yield from frames_iter(self._connection, tty=False)
