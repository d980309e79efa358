"""The server that forks a build's stages: started beside DVC, ended with it."""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ptefoundry import stage_shell

LOG_FILE = Path(".dvc") / "tmp" / "ptefoundry-fork-server.log"

Start = Callable[[int], None]
"""Starts the server in a process group."""


@contextmanager
def fork_server(root: Path) -> Iterator[tuple[dict[str, str], Start]]:
    """A server for the stages of a workspace, which does not outlive the block.

    Yields:
        What is to be added to the environment of the stages, and what starts the server
        in their process group, so that signals to the group reach what it forks.
    """
    # Elsewhere what libraries have started is not whole in a forked process.
    if sys.platform != "linux":
        yield {}, lambda _group: None
        return
    servers: list[subprocess.Popen[bytes]] = []
    running = os.environ.get(stage_shell.SOCKET_VARIABLE)
    # A socket's path may have 107 bytes, fewer than a workspace's may.
    with tempfile.TemporaryDirectory(prefix="ptefoundry-") as folder:
        address = Path(running or Path(folder) / "stages")

        def start(group: int) -> None:
            # Several builds, one after the other, may have one.
            if running is None:
                servers.append(_start(root, address, group))

        try:
            yield _variables(Path(folder), address), start
        finally:
            for server in servers:
                # All stages have ended; it may be importing for one that does not come.
                server.terminate()
                server.communicate()


def _variables(folder: Path, address: Path) -> dict[str, str]:
    """What stages need to know to be forked."""
    variables = {stage_shell.SOCKET_VARIABLE: str(address)}
    shell = _write_shell(folder)
    # Not where nothing may be executed from temporary folders.
    if os.access(shell, os.X_OK):
        # DVC runs commands in the user's shell, which is to be ours.
        variables["SHELL"] = str(shell)
    return variables


def _write_shell(folder: Path) -> Path:
    """A program that runs `stage_shell` with this Python."""
    path = folder / "stage-shell"
    words = (sys.executable, "-S", "-E", "-P", stage_shell.__file__)
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    path.chmod(0o700)
    return path


def _start(root: Path, address: Path, group: int) -> "subprocess.Popen[bytes]":
    path = root / LOG_FILE
    # DVC makes the folder; in a fresh clone it has not yet.
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "ptefoundry.stages.fork_server", address],
            cwd=root,
            # OpenMP reads it when torch is imported; see `stages.entry`.
            env={"OMP_WAIT_POLICY": "passive", **os.environ},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            process_group=group,
        )
