"""The shared cache: DVC's default remote, which several machines read and write.

Its layout is DVC's own, so that `dvc push`, `dvc pull` and `dvc repro --pull` work with it too:

    files/md5/<2 digits>/<30 digits>        an output, or a folder's list of files (`.dir`)
    runs/<2 digits>/<key>/<value>           a run of a stage: what went in, what came out

What DVC takes on trust is checked here: every object is hashed when it arrives.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ptefoundry.errors import ConfigError, DiskFullError, StoreError
from ptefoundry.files import sync

from .failure import DISK_FULL, explain_os_error

OBJECTS = "files/md5"
RUNS = "runs"
LISTING = ".dir"
"""Ends the name of an object that lists a folder's files."""
PART_PREFIX, PART_SUFFIX = ".part-", ".tmp"
"""Of the name of an object that is arriving."""
_CONNECTIONS = 16
_Given = TypeVar("_Given")
_Result = TypeVar("_Result")
_READ_ONLY = 0o444
_MULTIPART = "-"
_SET_UP = (
    "name one with `dvc remote add -d shared s3://bucket/prefix`, and for another store than AWS "
    "`dvc remote modify shared endpointurl URL` (docs/shared-cache.md)"
)


@dataclass(frozen=True)
class StoredFile:
    """What a store says of a file."""

    size: int
    md5: str | None
    """None where the store does not tell, for instance of files that were sent in parts."""
    modified: float = 0.0
    """Seconds since the epoch; 0 where the store does not tell."""


@dataclass(frozen=True)
class Wanted:
    """An object that is to be brought here."""

    name: str
    """Its path in the store."""
    target: Path
    md5: str
    """That it must have."""


class DamagedError(StoreError):
    """The store has something else under an object's name, or nothing."""


class SharedStore:
    """A remote of DVC; its methods may be called by several threads."""

    def __init__(self, remote: Any) -> None:
        """`remote` is a `dvc.data_cloud.Remote`."""
        self._files, self._root = remote.fs, remote.path
        self.url: str = remote.fs.unstrip_protocol(remote.path)

    def list_files(self, below: str) -> Mapping[str, StoredFile]:
        """All files of a folder of the store: path in the store -> what it says of them.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._explained("read"):
            self._files.fs.invalidate_cache()
            found = self._files.fs.find(self._path(below), detail=True)
            if not isinstance(found, Mapping):
                # DVC's own class for folders yields paths, whatever it is asked for.
                found = {path: self._files.info(path) for path in found}
        start = len(self._root.rstrip("/")) + 1
        return {path[start:]: _stored_file(info) for path, info in found.items()}

    def read(self, name: str) -> bytes:
        """The content of a small file.

        Raises:
            DamagedError: there is none.
            StoreError: the store cannot be read.
        """
        with self._explained("read"):
            content: bytes = self._files.fs.cat_file(self._path(name))
        return content

    def fetch(self, wanted: Iterable[Wanted]) -> list[Wanted]:
        """Bring objects here, several at a time; returns those that are gone, cut or altered.

        Raises:
            StoreError: the store cannot be read.
            DiskFullError: there is no room.
        """
        return [one for one in _at_once(self._fetch_one, wanted) if one is not None]

    def send(self, files: Iterable[tuple[Path, str]]) -> int:
        """Put files of this machine into the store, several at a time; returns the bytes sent.

        Raises:
            StoreError: the store cannot be written.
        """
        return sum(_at_once(self._send_one, files))

    def remove(self, names: Iterable[str]) -> None:
        """Remove files of the store, several at a time.

        Raises:
            StoreError: the store cannot be written.
        """
        _at_once(self._remove_one, names)

    def _remove_one(self, name: str) -> None:
        with self._explained("written"):
            self._files.remove(self._path(name))

    def _send_one(self, file: tuple[Path, str]) -> int:
        source, name = file
        with self._explained("written"):
            self._files.put_file(str(source), self._path(name))
        return source.stat().st_size

    def _fetch_one(self, wanted: Wanted) -> Wanted | None:
        folder = wanted.target.parent
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=PART_PREFIX, suffix=PART_SUFFIX)
        os.close(handle)
        temporary = Path(name)
        try:
            with self._explained("read"):
                self._files.get_file(self._path(wanted.name), name)
            if hash_md5(temporary) != wanted.md5:
                return wanted
            sync(temporary)
            temporary.chmod(_READ_ONLY)
            temporary.replace(wanted.target)
        except DamagedError:
            return wanted
        finally:
            temporary.unlink(missing_ok=True)
        return None

    def _path(self, name: str) -> str:
        path: str = self._files.join(self._root, *name.split("/"))
        return path

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        """Turn errors of the store's client into ours, with the next step."""
        from botocore.exceptions import BotoCoreError, NoCredentialsError

        try:
            yield
        except FileNotFoundError as error:
            raise DamagedError(f"{self.url}: {error}") from error
        except (PermissionError, NoCredentialsError) as error:
            raise StoreError(
                f"shared cache {self.url}: could not be {verb}: {error}; log in again: the "
                "credentials are missing or wrong, have expired or may not do that (AWS_PROFILE, "
                "or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY). Or build without the shared cache"
            ) from error
        except (BotoCoreError, OSError) as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise DiskFullError(explain_os_error(error)) from error
            raise StoreError(
                f"shared cache {self.url}: could not be {verb} ({error}); check the network and "
                "AWS_ENDPOINT_URL, then run again: what has arrived is kept. Or build without it"
            ) from error


def open_store(repo: Any) -> SharedStore:
    """The shared cache of a workspace.

    Args:
        repo: a `dvc.repo.Repo`.

    Raises:
        ConfigError: it has none.
    """
    from dvc.config import ConfigError as DvcConfigError

    try:
        return SharedStore(repo.cloud.get_remote(command="pull"))
    except DvcConfigError as error:
        raise ConfigError(
            f"{repo.root_dir}: expected a shared cache, found none ({error}); {_SET_UP}"
        ) from error


def object_name(md5: str) -> str:
    """Path of an object in a store and in DVC's cache."""
    return f"{OBJECTS}/{md5[:2]}/{md5[2:]}"


def hash_md5(path: Path) -> str:
    """MD5 of a file's bytes in hex, by which DVC names objects."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _stored_file(info: Mapping[str, Any]) -> StoredFile:
    tag = str(info.get("ETag", "")).strip('"')
    modified = info.get("LastModified")
    seconds = modified.timestamp() if modified else info.get("mtime", 0.0)
    return StoredFile(
        size=int(info["size"]),
        md5=tag if len(tag) == 32 and _MULTIPART not in tag else None,
        modified=seconds,
    )


def _at_once(act: Callable[[_Given], _Result], given: Iterable[_Given]) -> list[_Result]:
    """Results in order; an error ends it once what has begun is done."""
    pool = ThreadPoolExecutor(_CONNECTIONS)
    try:
        return list(pool.map(act, given))
    finally:
        pool.shutdown(cancel_futures=True)
