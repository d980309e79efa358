"""Writing files so that a reader sees the old content or the new, never a part.

Everything goes to a temporary file in the same folder, is flushed to the disk
and then renamed. What a killed process leaves is hidden (`.<name>...tmp`), and
folders of that kind are removed by the next one that makes the same thing.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic_writer(path: Path, *, check: Callable[[Path], None] | None = None) -> Iterator[BinaryIO]:
    """Open `path` for writing; it appears under its name only if the block succeeds.

    `check` is given what was written, before it gets its name, and may raise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` in one step."""
    with atomic_writer(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path` in one step."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a value as sorted, indented JSON with a final newline."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


@contextmanager
def versioned_json(
    path: Path, version: int, *, what: str, remedy: str, error: type[Exception]
) -> Iterator[dict[str, Any]]:
    """Read a JSON object with a `format_version`; the block takes its fields out of it.

    Args:
        path: the file.
        version: the one that is understood.
        what: how an error calls the file, after "expected".
        remedy: what to do about an error.
        error: raised where the file is missing, malformed or of another version, and
            where the block does not find what it looks for.
    """
    try:
        document = json.loads(path.read_bytes())
        found = document["format_version"]
        if found == version:
            yield document
            return
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as cause:
        raise error(f"{path}: expected {what} ({cause!r}); {remedy}") from cause
    raise error(f"{path}: format_version: expected {version}, found {found!r}; {remedy}")


@contextmanager
def scratch_folder(into: Path) -> Iterator[Path]:
    """Yield an empty folder beside `into` for what becomes it; gone after the block.

    One process at a time may make the same `into`.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    folder = into.with_name(f".{into.name}.tmp")
    remove(folder)
    folder.mkdir()
    try:
        yield folder
    finally:
        remove(folder)


@contextmanager
def assembled_folder(into: Path) -> Iterator[Path]:
    """Yield an empty folder that takes `into`'s place if the block succeeds.

    If it fails there is no `into`, not even an older one: whoever finds the
    folder may trust that it is what was asked for last.
    """
    with scratch_folder(into) as folder:
        try:
            yield folder
            _sync_tree(folder)
        except BaseException:
            remove(into)
            raise
        remove(into)
        folder.rename(into)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def place(source: Path, target: Path) -> None:
    """Give `source`'s bytes the name `target`: hard link, or a copy across devices.

    Only for files that nobody changes in place, as all of ours are.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        _copy(source, target)
        return
    temporary.replace(target)


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, atomic_writer(target) as writer:
        while chunk := reader.read(1 << 20):
            writer.write(chunk)


def _sync_tree(folder: Path) -> None:
    """Write what is in `folder` to the disk, so that a rename never outruns its files."""
    for path in (*folder.rglob("*"), folder):
        if not path.is_symlink():
            sync(path)


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
