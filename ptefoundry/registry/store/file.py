"""A store in a folder, which any static web server can serve.

An object is a file that never changes: it is written under a hidden name, flushed to
the disk, made read-only and only then given its key as a name. `os.link` gives a name
only if it is free, so one of many creators wins, on one machine as on a network file
system; a rename replaces, under a lock that all replacing and deleting processes take.

A token is the file's inode, size and time of modification. That time is set, not left
to the kernel's coarse clock, and each replacement's is later than that of the file it
replaces. So no two contents of a key have the same token, even if an inode is used again.
"""

import errno
import fcntl
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ptefoundry.errors import (
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
    ObjectTooLargeError,
    StoreError,
)
from ptefoundry.files import sync
from ptefoundry.registry.store.copying import copy_checked, write_all
from ptefoundry.registry.store.interface import Advance, ObjectInfo
from ptefoundry.registry.store.keys import check_key, check_prefix

_PIECE_BYTES = 1 << 20
_TEMPORARY, _LOCK = ".tmp", ".lock"
_READ_ONLY = 0o444
#: Nanoseconds by which a file system may round times: none, NTFS, FAT.
_TIME_STEPS = (1, 1_000, 1_000_000_000, 2_000_000_000)
_ADVICE = {
    errno.EACCES: "check who may write to the folder",
    errno.EDQUOT: "the quota is used up: free some space",
    errno.ENOSPC: "the disk is full: free some space",
    errno.EPERM: "its file system has no hard links, which creating once needs: use another one",
    errno.EOPNOTSUPP: "its file system has no hard links or locks: use another one",
    errno.EROFS: "the file system is read-only",
}


class FileStore:
    """Objects below a folder, which need not exist yet; see `Store` for the methods."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.url, self.can_list = f"file:{self.folder}/", True

    def head(self, key: str) -> ObjectInfo | None:
        """See `Store`."""
        with self._explained(key):
            found = self._stat(key)
        return _describe(key, found) if found is not None else None

    def read(self, key: str, *, limit: int) -> tuple[bytes, str]:
        """See `Store`."""
        with self._explained(key), self._open(key) as file:
            found = os.fstat(file.fileno())
            if found.st_size > limit:
                raise ObjectTooLargeError(
                    f"{self.url}{key}: expected at most {limit} bytes, found {found.st_size}"
                )
            return file.read(), _token(found)

    @contextmanager
    def stream(self, key: str, start: int, end: int) -> Iterator[Iterator[bytes]]:
        """See `Store`."""
        with self._explained(key):
            file = self._open(key)
        with file:
            yield self._pieces(key, file, start, end)

    def create(self, key: str, data: bytes) -> str:
        """See `Store`."""
        with self._explained(key), self._written(lambda file: write_all(file, data)) as temporary:
            token = _token(temporary.stat())
            if self._link(temporary, self._path(key)):
                return token
        try:
            found, token = self.read(key, limit=len(data))
        except ObjectMissingError:
            if self._path(key).exists():
                raise StoreError(f"{self.url}{key}: a folder of that name is in the way") from None
            # Whoever had it has removed it.
            return self.create(key, data)
        except StoreError as error:
            raise self._exists(key) from error
        if found != data:
            raise self._exists(key)
        return token

    def replace(self, key: str, data: bytes, token: str) -> str:
        """See `Store`."""
        with (
            self._explained(key),
            self._written(lambda file: write_all(file, data)) as temporary,
            self._lock(),
        ):
            path, present = self._path(key), self._stat(key)
            if present is None or _token(present) != token:
                raise ObjectChangedError(f"{self.url}{key}: it has been changed meanwhile")
            _make_later(temporary, present.st_mtime_ns)
            new = _token(temporary.stat())
            temporary.replace(path)
            sync(path.parent)
            return new

    def upload(self, key: str, path: Path, *, sha256: str, advance: Advance) -> None:
        """See `Store`.

        The file is cloned where the file system can and else copied. It is not
        linked: its date would be that of the build, by which a collector would take
        the blob for an old one, and whoever writes into the file would change it.
        """
        size = path.stat().st_size
        if not self._is_there(key, size):
            with (
                self._explained(key),
                self._written(lambda file: copy_checked(path, file, sha256)) as temporary,
            ):
                size = temporary.stat().st_size
                if not self._link(temporary, self._path(key)) and not self._is_there(key, size):
                    raise StoreError(f"{self.url}{key}: others removed it meanwhile; push again")
        advance(size)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Store`."""
        check_prefix(prefix)
        with self._explained(prefix):
            keys = sorted(key for key in self._keys(prefix) if key.startswith(prefix))
        yield from (info for info in map(self.head, keys) if info is not None)

    def delete(self, key: str) -> None:
        """See `Store`."""
        path = self._path(key)
        if path.exists():
            with self._explained(key), self._lock():
                path.unlink(missing_ok=True)
                sync(path.parent)

    def drop_unfinished(self, older_than_s: float) -> int:
        """See `Store`."""
        removed = 0
        with self._explained(_TEMPORARY), suppress(FileNotFoundError):
            for path in (self.folder / _TEMPORARY).iterdir():
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime < time.time() - older_than_s:
                        path.unlink()
                        removed += 1
        return removed

    def _path(self, key: str) -> Path:
        return self.folder / check_key(key)

    def _stat(self, key: str) -> os.stat_result | None:
        """What is known of a file, None if there is none or it is a folder."""
        try:
            found = self._path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def _open(self, key: str) -> BinaryIO:
        try:
            return self._path(key).open("rb", buffering=0)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise ObjectMissingError(f"{self.url}{key}: there is no such object") from error

    def _pieces(self, key: str, file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
        with self._explained(key):
            file.seek(start)
            while start < end:
                piece = file.read(min(_PIECE_BYTES, end - start))
                if not piece:
                    raise StoreError(f"{self.url}{key}: expected {end} bytes, found {start}")
                start += len(piece)
                yield piece

    @contextmanager
    def _written(self, write: Callable[[BinaryIO], object]) -> Iterator[Path]:
        """A finished read-only file without a key; gone after the block."""
        temporary = self.folder / _TEMPORARY / uuid.uuid4().hex
        temporary.parent.mkdir(parents=True, exist_ok=True)
        # The mode is for those who open the file later. The kernel applies the umask.
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
        try:
            with os.fdopen(os.open(temporary, flags, _READ_ONLY), "w+b", buffering=0) as file:
                write(file)
                now = time.time_ns()
                os.utime(file.fileno(), ns=(now, now))
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _link(self, temporary: Path, path: Path) -> bool:
        """Give a file its key as a name; False if it is taken."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        sync(path.parent)
        return True

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # Opened anew each time: the kernel's locks are of open files, so threads exclude
        # each other as processes do, and a killed process holds none.
        with (self.folder / _LOCK).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)

    def _is_there(self, key: str, size: int) -> bool:
        found = self.head(key)
        if found is not None and found.size != size:
            raise StoreError(
                f"{self.url}{key}: expected {size} bytes, the store has {found.size}; delete this "
                "damaged object and push again"
            )
        return found is not None

    def _keys(self, prefix: str) -> Iterator[str]:
        top = self.folder / prefix.rpartition("/")[0]
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if not name.startswith(".")]
            below = Path(folder).relative_to(self.folder)
            yield from ((below / name).as_posix() for name in names if not name.startswith("."))

    def _exists(self, key: str) -> ObjectExistsError:
        return ObjectExistsError(f"{self.url}{key}: there is an object of other content")

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            advice = _ADVICE.get(error.errno or 0, "check the folder")
            raise StoreError(f"{self.url}{key}: {error.strerror or error}; {advice}") from error


def _describe(key: str, found: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, found.st_size, found.st_mtime, _token(found))


def _token(found: os.stat_result) -> str:
    return f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"


def _make_later(path: Path, than_ns: int) -> None:
    """Make a file's time of modification later than another one's."""
    if path.stat().st_mtime_ns > than_ns:
        return
    for step in _TIME_STEPS:
        os.utime(path, ns=(than_ns + step, than_ns + step))
        if path.stat().st_mtime_ns > than_ns:
            return
    raise StoreError(f"{path}: its file system does not keep times of modification")
