"""What folders take on a disk, with files that have several names counted once."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK_BYTES = 512


@dataclass(frozen=True)
class DiskUse:
    """Bytes of the blocks of files, as `du` has them; folders are not counted."""

    once: int
    """Each inode once."""
    naive: int
    """Each name, as if none were a link."""


def disk_use(*folders: Path) -> DiskUse:
    """Of all files below some folders, together; one without a folder counts nothing."""
    inodes: dict[tuple[int, int], int] = {}
    naive = 0
    for path in _files(folders):
        # A symbolic link takes nothing itself, but is a name of its target.
        naive += path.stat().st_blocks * _BLOCK_BYTES
        facts = path.lstat()
        inodes[facts.st_dev, facts.st_ino] = facts.st_blocks * _BLOCK_BYTES
    return DiskUse(once=sum(inodes.values()), naive=naive)


def inodes_with(content: bytes, *folders: Path) -> set[int]:
    """Inodes of the files below some folders that have this content."""
    same_size = (path for path in _files(folders) if path.lstat().st_size == len(content))
    return {path.lstat().st_ino for path in same_size if path.read_bytes() == content}


def _files(folders: tuple[Path, ...]) -> Iterator[Path]:
    for top in folders:
        for folder, _, names in os.walk(top):
            yield from (Path(folder, name) for name in names)
