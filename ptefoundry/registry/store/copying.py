"""Copying a file into another one and knowing that what was copied is what was meant."""

import fcntl
import hashlib
from pathlib import Path
from typing import BinaryIO

from ptefoundry.errors import StoreError

_PIECE_BYTES = 1 << 20
_FICLONE = 0x40049409
"""Linux: share the other file's blocks until one of the two is written (ioctl_ficlone(2))."""


class WrongBytesError(StoreError):
    """A file is not what it should be, or did not stay so while it was read."""


def copy_checked(path: Path, target: BinaryIO, sha256: str) -> None:
    """Fill an empty file with the bytes of `path`.

    Raises:
        WrongBytesError: they are not those of `sha256`.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as source:
        cloned = _clone(source.fileno(), target)
        # What is hashed is the clone, which nobody else can change.
        reader = target if cloned else source
        while piece := reader.read(_PIECE_BYTES):
            digest.update(piece)
            if not cloned:
                write_all(target, piece)
    check_digest(path, digest.hexdigest(), sha256)


def check_digest(path: Path, found: str, expected: str) -> None:
    """Compare a file's digest with the one that it is to be stored under.

    Raises:
        WrongBytesError: they differ.
    """
    if found != expected:
        raise WrongBytesError(
            f"{path}: expected sha256 {expected}, found {found}; the file was changed after it "
            "was built or is damaged: build it again"
        )


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write to an unbuffered file, which may take less at once."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _clone(source: int, target: BinaryIO) -> bool:
    try:
        fcntl.ioctl(target.fileno(), _FICLONE, source)
    except OSError:
        return False
    return True
