"""Has a stage run by the server that forks stages, where there is one."""

import json
import os
import signal
import socket
import sys
from pathlib import Path

from ptefoundry.fork_protocol import LENGTH, SOCKET_VARIABLE, STATUS

_TENSORS = ("torch", "safetensors.torch")
_PEFT = (*_TENSORS, "transformers.models.auto.modeling_auto", "peft")
#: Section -> modules that take its stages long to import, in the order to import them. Not
#: compiling, which happens once in a build and imports nothing where templates are there.
_IMPORTS: dict[str, tuple[str, ...]] = {
    "convert": _TENSORS,
    "reference": _PEFT,
    "quantize": (*_TENSORS, "executorch.exir", "torchao"),
}
#: Section -> the same of the stages that will follow: what was converted needs a reference.
_NEXT_IMPORTS = {"convert": _PEFT}


def run_forked(section: str) -> int | None:
    """Run this process's stage in a process that was forked for it.

    Args:
        section: the stage's, of the toolchain.

    Returns:
        Its exit code; None if there is no server, or nothing to gain.
    """
    address = os.environ.get(SOCKET_VARIABLE)
    main = sys.modules["__main__"].__spec__
    if address is None or main is None or section not in _IMPORTS:
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return None  # The build that started it was killed; this stage goes on.
        _send(connection, main.name, section)
        # The stage is of the same process group: it hears of a Ctrl-C itself, and ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        answer = connection.recv(STATUS.size)
    if len(answer) != STATUS.size:
        print("error: the process that runs the stages was killed; run again", file=sys.stderr)
        return 1
    code: int = STATUS.unpack(answer)[0]
    return code if code >= 0 else 128 - code


def _send(connection: socket.socket, module: str, section: str) -> None:
    text = json.dumps(
        {
            "module": module,
            "arguments": sys.argv[1:],
            "folder": str(Path.cwd()),
            "environment": dict(os.environ),
            "imports": _IMPORTS[section],
            "next_imports": _NEXT_IMPORTS.get(section, ()),
        }
    ).encode()
    files = [stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)]
    socket.send_fds(connection, [LENGTH.pack(len(text))], files)
    connection.sendall(text)
