"""Remembering which files were hashed, so that unchanged ones need not be hashed again.

As git does, a file counts as unchanged while inode, size, times of modification and
of change are those that were noted after it was hashed. That finds whoever wrote to
it, not a disk that returns other bytes: what goes to a new place is hashed anyway.

A note is lost, never wrong, where files are linked or unlinked (their time of change
moves). Notes of files that may not be on the disk yet hold until the next boot only:
after a power failure such a file can have its length and times without its bytes.
"""

import json
import os
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class VerifiedFiles:
    """Notes on files, kept in a folder under their device and inode."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Noted by this process: hashed since it began.
        self._fresh: dict[tuple[int, int], dict[str, object]] = {}

    def remember(self, path: Path, digest: str, *, durable: bool) -> None:
        """Note that a file has just been found to have `digest`.

        Args:
            path: the file.
            digest: `sha256:<hex>`.
            durable: whether its bytes are known to be on the disk.
        """
        status = path.stat()
        note = _describe(status, digest) | {"boot": "" if durable else _boot_id()}
        self._fresh[status.st_dev, status.st_ino] = note
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._note(status)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.{id(note)}.tmp")
        # Not flushed to the disk: a note that does not survive is no harm.
        temporary.write_text(json.dumps(note))
        temporary.replace(target)

    def knows(self, path: Path, digest: str, *, fresh: bool = False) -> bool:
        """Whether a file is unchanged since it was found to have `digest`.

        Args:
            path: the file.
            digest: `sha256:<hex>`.
            fresh: count only what this process has found.
        """
        status = path.stat()
        note = self._read(status, fresh=fresh)
        if note is None or note.pop("boot", None) not in {"", _boot_id()}:
            return False
        return note == _describe(status, digest)

    def touch(self, status: os.stat_result) -> None:
        """Note that a file is used now."""
        try:
            os.utime(self._note(status))
        except FileNotFoundError:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._note(status).touch()

    def last_use(self, status: os.stat_result) -> float:
        """When a file was hashed or used, seconds since 1970; its own time if never."""
        try:
            return self._note(status).stat().st_mtime
        except FileNotFoundError:
            return status.st_mtime

    def forget(self, status: os.stat_result) -> None:
        """Drop what is known of a file."""
        self._fresh.pop((status.st_dev, status.st_ino), None)
        self._note(status).unlink(missing_ok=True)

    def drop_older(self, time_s: float) -> None:
        """Drop notes that were neither made nor used since `time_s`, seconds since 1970."""
        for note in self._folder.glob("*"):
            if note.stat().st_mtime < time_s:
                note.unlink(missing_ok=True)

    def _read(self, status: os.stat_result, *, fresh: bool) -> dict[str, object] | None:
        if fresh:
            found = self._fresh.get((status.st_dev, status.st_ino))
            return dict(found) if found else None
        try:
            note = json.loads(self._note(status).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return note if isinstance(note, dict) else None

    def _note(self, status: os.stat_result) -> Path:
        return self._folder / f"{status.st_dev}-{status.st_ino}.json"


def _describe(status: os.stat_result, digest: str) -> dict[str, object]:
    return {
        "digest": digest,
        "size": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "changed_ns": status.st_ctime_ns,
    }


def _boot_id() -> str:
    """Names this run of the machine; without a name, notes that need one are never trusted."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return os.urandom(16).hex()
