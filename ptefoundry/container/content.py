"""Digest of all files of an image, which is the same wherever the image was built.

An image's ID covers when it was built and in which layers; two builds never have the same
one. This digest covers what a process in a container finds: every path with its type,
mode, owner, time and content, and the environment that the image sets.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from ptefoundry.digest import hash_bytes

#: Made by engines for each container anew.
_OF_THE_ENGINE = re.compile(
    r"(?:dev|proc|sys)/.*|\.dockerenv|run/\.containerenv|etc/(?:hosts|hostname|resolv\.conf|mtab)"
)
#: Folders that engines put these into, which changes the folders' times.
_TOUCHED = frozenset({"dev", "etc", "proc", "run", "sys"})
_CHUNK_BYTES = 1 << 20


def content_digest(archive: IO[bytes], environment: Sequence[str]) -> str:
    """Digest of an exported file system.

    Args:
        archive: a tar file, read once from its beginning to its end.
        environment: what the image sets, as `NAME=value`.

    Returns:
        64 hex digits.
    """
    with tarfile.open(fileobj=archive, mode="r|") as members:
        lines = sorted(_describe_all(members))
    text = "".join(f"{line}\n" for line in (*lines, json.dumps(sorted(environment))))
    return hash_bytes(text.encode())


def _describe_all(members: tarfile.TarFile) -> Iterator[str]:
    contents: dict[str, str] = {}
    for member in members:
        name = member.name.removeprefix("./")
        if name in {"", "."} or _OF_THE_ENGINE.fullmatch(name):
            continue
        if file := members.extractfile(member) if member.isreg() else None:
            contents[name] = _hash(file)
        # Which of a file's names comes first, and is not a link then, is the engine's choice.
        content = contents.get(member.linkname.removeprefix("./") if member.islnk() else name)
        kind = "file" if content else member.type.decode()
        target = member.linkname if member.issym() else ""
        time_s = None if name in _TOUCHED else int(member.mtime)
        owner = [f"{member.mode:o}", member.uid, member.gid]
        yield json.dumps([name, kind, *owner, time_s, target, content])


def _hash(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


class ChunkReader:
    """A file to read over pieces of bytes that come one after the other."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer at the end only."""
        parts, missing = [self._rest], size - len(self._rest)
        while missing > 0 and (piece := next(self._pieces, b"")):
            parts.append(piece)
            missing -= len(piece)
        data = b"".join(parts)
        self._rest = data[size:]
        return data[:size]
