"""The shell that DVC runs stages in where a server forks them: asks it to, and waits.

    python -S -E -P stage_shell.py -c COMMAND

Imports the standard library only and is started without `site`, as a build starts it for every
stage: of hundreds of adapters this, not the work, would take the time. A command that the server
does not fork, or for which there is none, goes to /bin/sh.

Both sides say: the length of a JSON object (the fields of `StageRequest` but `files`) with stdin,
stdout and stderr, then the object; back comes the exit code.
"""

import json
import os
import shlex
import signal
import socket
import struct
import sys

SOCKET_VARIABLE = "PTEFOUNDRY_FORK_SERVER"
"""Environment variable that names the server's socket."""
LENGTH = struct.Struct("!Q")
STATUS = struct.Struct("!i")
"""Exit code; of a process that a signal ended, minus its number."""
NOT_FORKED = -(1 << 20)
"""Status of a command that the server does not run."""
_PYTHON = ["python", "-m"]


def main() -> None:
    """Run the command, and exit as it did."""
    command = sys.argv[2]
    status = _run_forked(command)
    if status == NOT_FORKED:
        os.execv("/bin/sh", ["/bin/sh", "-c", command])  # noqa: S606  it is the shell
    sys.exit(status if status >= 0 else 128 - status)


def _run_forked(command: str) -> int:
    words, address = shlex.split(command), os.environ.get(SOCKET_VARIABLE)
    if address is None or words[:2] != _PYTHON:
        return NOT_FORKED
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return NOT_FORKED  # The build that started it was killed; this stage goes on.
        _send(connection, words[2], words[3:])
        # The stage is of the same process group: it hears of a Ctrl-C itself, and ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        answer = connection.recv(STATUS.size)
    if len(answer) != STATUS.size:
        print("error: the process that runs the stages was killed; run again", file=sys.stderr)
        return 1
    status: int = STATUS.unpack(answer)[0]
    if status == NOT_FORKED:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return status


def _send(connection: socket.socket, module: str, arguments: list[str]) -> None:
    request = {
        "module": module,
        "arguments": arguments,
        "folder": os.getcwd(),  # noqa: PTH109  importing pathlib takes longer
        "environment": dict(os.environ),
        "group": os.getpgrp(),
    }
    text = json.dumps(request).encode()
    files = [stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)]
    socket.send_fds(connection, [LENGTH.pack(len(text))], files)
    connection.sendall(text)


if __name__ == "__main__":
    main()
