"""Paths of files in a bundle that may come from a stranger.

They are plain enough to mean the same file on every system that a bundle is pulled
to: no case, no Unicode form, no device and no folder above can be meant by them.
"""

import re
from collections.abc import Iterable

from ptefoundry.errors import RegistryError

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*", re.ASCII)
_LENGTH, _WORD_LENGTH = 512, 128
#: Names that Windows gives to devices, whatever follows the first dot.
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in range(10)}
)


def check_path(path: str, *, where: str) -> str:
    """A path of a bundle's file, if it is one.

    Raises:
        RegistryError: it could leave the folder or be another file elsewhere; `where`
            names the field.
    """
    if len(path) > _LENGTH or not all(_is_word(word) for word in path.split("/")):
        raise RegistryError(
            f"{where}: expected a relative path of letters, digits and . _ + - whose parts are "
            f"no devices and neither begin nor end with a dot, found {path[:_LENGTH]!r}"
        )
    return path


def check_paths(paths: Iterable[str], *, where: str) -> None:
    """Refuse paths that cannot stand beside each other in one folder.

    Raises:
        RegistryError: two are equal but for the case of letters, or one is the folder
            of another.
    """
    seen: set[str] = set()
    for path in paths:
        folded = check_path(path, where=where).lower()
        if folded in seen:
            raise RegistryError(f"{where}: expected each path once, found {path!r} again")
        seen.add(folded)
    for folded in seen:
        parts = folded.split("/")
        for count in range(1, len(parts)):
            if (folder := "/".join(parts[:count])) in seen:
                raise RegistryError(f"{where}: expected {folder!r} to be a file or a folder only")


def _is_word(word: str) -> bool:
    return (
        len(word) <= _WORD_LENGTH
        and _WORD.fullmatch(word) is not None
        and not word.endswith(".")
        and word.partition(".")[0].lower() not in _DEVICES
    )
