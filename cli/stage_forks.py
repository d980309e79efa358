"""The server that forks a build's stages: started beside DVC, ended with it."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ptefoundry.fork_protocol import SOCKET_VARIABLE

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
    # A socket's path may have 107 bytes, fewer than a workspace's may.
    with tempfile.TemporaryDirectory(prefix="ptefoundry-") as folder:
        address = Path(folder) / "stages"

        def start(group: int) -> None:
            servers.append(_start(root, address, group))

        try:
            yield {SOCKET_VARIABLE: str(address)}, start
        finally:
            for server in servers:
                # All stages have ended; it may be importing for one that does not come.
                server.terminate()
                server.communicate()


def _start(root: Path, address: Path, group: int) -> "subprocess.Popen[bytes]":
    with (root / LOG_FILE).open("wb") as log:
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
