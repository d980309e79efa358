"""SHA-256 digests of files, folders and values, written as 64 hex digits.

A folder's digest is that of its sorted `<sha256>  <posix path>` lines, so it
does not depend on where the folder is, on dates, modes or listing order.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ptefoundry.errors import ConfigError

_SHA256 = re.compile(r"[0-9a-f]{64}")


def hash_bytes(data: bytes | memoryview) -> str:
    """SHA-256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes in hex, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(root: Path, names: Iterable[str]) -> str:
    """Digest of the named files below `root`, independent of order and place."""
    lines = [f"{hash_file(root / name)}  {name}\n" for name in sorted(names)]
    return hash_bytes("".join(lines).encode())


def hash_tree(root: Path) -> str:
    """Digest of every file below `root`."""
    files = (path for path in root.rglob("*") if path.is_file())
    return hash_files(root, (path.relative_to(root).as_posix() for path in files))


def hash_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    return hash_bytes(canonical_json(value))


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, no spaces, UTF-8 and no NaN: one text per value."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def parse_sha256(text: str, *, where: str) -> str:
    """Check a digest that somebody wrote down; `sha256:` in front is accepted.

    Raises:
        ConfigError: it is not 64 lower-case hex digits; `where` names the field.
    """
    digest = text.removeprefix("sha256:")
    if not _SHA256.fullmatch(digest):
        raise ConfigError(
            f"{where}: expected a sha256 digest (64 lower-case hex digits), found {text!r}"
        )
    return digest
