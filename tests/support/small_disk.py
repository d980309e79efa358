"""A disk of any size, which only some commands see, and which is gone with its process."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from support.skips import lacking


@dataclass(frozen=True)
class SmallDisk:
    """A tmpfs at `folder` in a mount namespace of its own."""

    folder: Path
    process: int
    """That keeps the namespace."""

    def command(self, root: Path) -> list[str]:
        """What runs the command that is appended to it, in a folder of this disk."""
        return [*self._enter(), "sh", "-c", 'cd "$0" && exec "$@"', str(root)]

    def resize(self, size: int) -> None:
        """Give it room for `size` bytes, no less than are used."""
        remount = ["mount", "-o", f"remount,size={size}", str(self.folder)]
        subprocess.run([*self._enter(), *remount], check=True)

    def used(self) -> int:
        """Bytes."""
        facts = os.statvfs(self.seen(self.folder))
        return (facts.f_blocks - facts.f_bfree) * facts.f_frsize

    def seen(self, path: Path) -> Path:
        """How a path of this disk is reached from outside of its namespace."""
        return Path(f"/proc/{self.process}/root{path}")

    def _enter(self) -> list[str]:
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", f"--target={self.process}", "--mount", *user]


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    """Make a disk of `size` bytes at an empty folder; see `_refused` for where none can be made."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    script = f'mount -t tmpfs -o size={size} none "$0" && echo mounted && exec sleep infinity'
    try:
        process = subprocess.Popen(
            ["unshare", "--mount", *user, "sh", "-c", script, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError:
        _refused("a small disk needs util-linux's unshare")
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "mounted\n":
            _refused(f"no disk can be mounted here: {process.communicate()[1].strip()}")
        yield SmallDisk(folder, process.pid)
    finally:
        process.kill()
        process.communicate()


def _refused(reason: str) -> NoReturn:
    """Skip; root can mount, so that in CI it is an error if it could not."""
    if os.geteuid() == 0:
        lacking(reason)
    pytest.skip(reason)
