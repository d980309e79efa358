"""Forks stages from one process, so that what several of them import is imported once.

    python -m ptefoundry.stages.fork_server SOCKET

`ptefoundry build` starts it and keeps its stdin open; when that closes, it ends. The shell of a
stage connects (`stage_shell`), says what it is and hands its files over. The server imports
what the stage needs and forks; the child is the stage, the shell waits for its exit code.

Linux only: elsewhere libraries that have been loaded do not survive a fork.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from ptefoundry.errors import FoundryError
from ptefoundry.stage_shell import LENGTH, NOT_FORKED, SOCKET_VARIABLE, STATUS

from .preloads import IMPORTS, NEXT_IMPORTS

_INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class StageRequest:
    """A stage to run, as its own process would have run it."""

    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    group: int
    """Process group of who asks."""
    files: tuple[int, ...]
    """Descriptors for stdin, stdout and stderr."""

    def become(self) -> int:
        """Be the stage; returns its exit code."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Signals to the build are for its stages; not in another session, where none arrive.
        with suppress(PermissionError, ProcessLookupError):
            os.setpgid(0, self.group)
        for number, file in enumerate(self.files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        os.environ.pop(SOCKET_VARIABLE, None)
        sys.argv = [self.module, *self.arguments]
        try:
            runpy.run_module(self.module, run_name="__main__", alter_sys=True)
        except SystemExit as left:
            return _exit_code(left)
        except KeyboardInterrupt:
            return _INTERRUPTED
        except BaseException:  # noqa: BLE001  as Python itself tells of it
            traceback.print_exc()
            return 1
        return 0


def main() -> None:
    """Serve until stdin closes, or be a stage that was forked."""
    path = Path(sys.argv[1])
    # Ctrl-C is for the stages.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        request = serve(listener, lifeline=sys.stdin.fileno())
    if request is not None:
        code = request.become()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        # Without taking every module apart, which would first copy what the server shares.
        os._exit(code)


def serve(listener: socket.socket, *, lifeline: int) -> StageRequest | None:
    """Fork stages until `lifeline` can be read.

    Returns:
        In a forked process what it has to be; None in the server at its end.
    """
    while lifeline not in select.select([listener.fileno(), lifeline], [], [])[0]:
        connection, _ = listener.accept()
        with connection:
            request = _receive(connection)
            if request is None:
                continue
            if request.module not in IMPORTS:
                _decline(connection, request)
                continue
            _prepare(request)
            child = os.fork()
            if child == 0:
                return request
            for file in request.files:
                os.close(file)
            attendant = Thread(target=_attend, args=(connection, child))
            attendant.start()
            _import_all(NEXT_IMPORTS.get(request.module, ()))
            # There must be no other thread at the next fork.
            attendant.join()
    return None


def _prepare(request: StageRequest) -> None:
    """Do once what each stage would do."""
    _import_all(IMPORTS[request.module])
    with suppress(ImportError, FoundryError):
        from ptefoundry.params import load_params

        # Remembered as long as the file is the same.
        load_params(Path(request.folder))
    # A collection in the child would write to all objects, and so copy their pages.
    gc.freeze()


def _decline(connection: socket.socket, request: StageRequest) -> None:
    for file in request.files:
        os.close(file)
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(STATUS.pack(NOT_FORKED))


def _exit_code(left: SystemExit) -> int:
    """As Python's own end of a process has it."""
    if left.code is None or isinstance(left.code, int):
        return (left.code or 0) & 0xFF
    print(left.code, file=sys.stderr)
    return 1


def _import_all(names: Iterable[str]) -> None:
    """What cannot be imported the stage itself will complain about."""
    with suppress(ImportError):
        for name in names:
            importlib.import_module(name)


def _receive(connection: socket.socket) -> StageRequest | None:
    """What a client sends; None if it has gone meanwhile."""
    data, files, _, _ = socket.recv_fds(connection, LENGTH.size, 3)
    wanted = LENGTH.unpack(data)[0] if len(data) == LENGTH.size else 0
    text = b""
    while len(text) < wanted and (piece := connection.recv(wanted - len(text))):
        text += piece
    if not text or len(text) < wanted:
        for file in files:
            os.close(file)
        return None
    fields: dict[str, Any] = json.loads(text)
    return StageRequest(**fields, files=tuple(files))


def _attend(connection: socket.socket, child: int) -> None:
    """Tell the client how the child ends; end the child if the client is gone."""
    pidfd = os.pidfd_open(child)
    try:
        if pidfd not in select.select([connection.fileno(), pidfd], [], [])[0]:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    finally:
        os.close(pidfd)
    # A client that was killed wants no answer.
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(STATUS.pack(os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    main()
