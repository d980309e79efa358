"""A disk of any size, which only some commands see, and which is gone with its process."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from support.skips import lacking

_LEAST_XFS_BYTES = 300 << 20
"""Below that mkfs.xfs refuses; few of them are written."""


@dataclass(frozen=True)
class SmallDisk:
    """A disk at `folder` in a mount namespace of its own."""

    folder: Path
    process: int
    """That keeps the namespace."""

    def command(self, root: Path) -> list[str]:
        """What runs the command that is appended to it, in a folder of this disk."""
        return [*self._enter(), "sh", "-c", 'cd "$0" && exec "$@"', str(root)]

    def resize(self, size: int) -> None:
        """Give a tmpfs room for `size` bytes, no less than are used."""
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
    with _mounted(folder, ["-t", "tmpfs", "-o", f"size={size}", "none"], refused=_refused) as disk:
        yield disk


@contextmanager
def cloning_disk(folder: Path, image: Path) -> Iterator[SmallDisk]:
    """Make a disk at an empty folder whose files can be cloned: XFS in a sparse file.

    The test is skipped where loop devices cannot be mounted: who is not root, most containers.
    """
    maker = shutil.which("mkfs.xfs", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if maker is None:
        lacking("mkfs.xfs is not installed: `make test-packages` installs it")
    with image.open("wb") as file:
        file.truncate(_LEAST_XFS_BYTES)
    subprocess.run([maker, "-q", "-m", "reflink=1", str(image)], check=True)
    with _mounted(folder, ["-o", "loop", str(image)], refused=pytest.skip) as disk:
        yield disk


@contextmanager
def _mounted(
    folder: Path, options: list[str], *, refused: Callable[[str], NoReturn]
) -> Iterator[SmallDisk]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    script = 'mount "$@" && echo mounted && exec sleep infinity'
    try:
        process = subprocess.Popen(
            ["unshare", "--mount", *user, "sh", "-c", script, "sh", *options, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError:
        refused("a small disk needs util-linux's unshare")
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "mounted\n":
            refused(f"no disk can be mounted here: {process.communicate()[1].strip()}")
        yield SmallDisk(folder, process.pid)
    finally:
        process.kill()
        process.communicate()


def _refused(reason: str) -> NoReturn:
    """Skip; root can mount, so that in CI it is an error if it could not."""
    if os.geteuid() == 0:
        lacking(reason)
    pytest.skip(reason)
