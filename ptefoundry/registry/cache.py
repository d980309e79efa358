"""A user's cache of blobs, shared by all workspaces; it may be deleted when nobody uses it.

blobs/<2 digits>/<hex>   whole, hashed, read-only
partial/                 blobs that are arriving; see `ptefoundry.registry.partials`
verified/                which files were hashed, and when they were used last
sessions/                a locked file for each process that is using blobs

A blob is hashed before it is handed out, unless this very process has hashed it: a
disk that returns other bytes shows in no time of modification. What is in a target
already is trusted as long as the file is unchanged (`ptefoundry.registry.verified`).
Targets hold hard links to blobs where the disk cannot share bytes in a better way.
Whoever changes such a file, in spite of its read-only mode, changes the blob as well;
it is then found here, dropped and fetched again.
"""

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.digest import hash_bytes, hash_file
from ptefoundry.errors import RegistryError
from ptefoundry.files import write_bytes
from ptefoundry.registry.disk import is_locked, lock_file
from ptefoundry.registry.names import hex_of
from ptefoundry.registry.partials import Partial, arrived
from ptefoundry.registry.verified import VerifiedFiles
from ptefoundry.workspace import cache_folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CachedBlob:
    """A blob of the cache."""

    digest: str
    """`sha256:<hex>`"""
    size: int
    """Bytes."""
    last_use: float
    """Seconds since 1970."""
    path: Path


def user_cache() -> "BlobCache":
    """The cache that all workspaces of this user share."""
    return BlobCache(cache_folder() / "registry")


class BlobCache:
    """Blobs by digest: each is there whole and verified, or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.verified = VerifiedFiles(folder / "verified")

    @property
    def sessions(self) -> Path:
        """Folder of the files that those hold locked who use blobs."""
        return self.folder / "sessions"

    @property
    def partials(self) -> Path:
        """Folder of blobs that are arriving."""
        return self.folder / "partial"

    def path(self, digest: str) -> Path:
        """Where a blob is, if it is there.

        Args:
            digest: `sha256:<hex>`.
        """
        name = hex_of(digest)
        return self.folder / "blobs" / name[:2] / name

    @contextmanager
    def session(self) -> Iterator[None]:
        """Within the block no blob is pruned that was used since it began."""
        self.sessions.mkdir(parents=True, exist_ok=True)
        path = self.sessions / f"{os.getpid()}-{uuid.uuid4().hex}"
        descriptor = lock_file(path, os.O_RDWR | os.O_CREAT, wait=True)
        assert descriptor is not None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def take(self, digest: str, size: int) -> Path | None:
        """A blob that is there, unaltered and now used; None if there is none.

        One that was altered is dropped.

        Args:
            digest: `sha256:<hex>`.
            size: bytes that it is said to have.

        Raises:
            RegistryError: it has another size, so whoever named size and digest erred.
        """
        path = self.path(digest)
        try:
            descriptor = lock_file(path, os.O_RDONLY, wait=True, shared=True)
        except FileNotFoundError:
            return None
        assert descriptor is not None
        try:
            if not self._check(path, digest):
                return None
            status = os.fstat(descriptor)
            self.verified.touch(status)
        finally:
            os.close(descriptor)
        if status.st_size != size:
            raise RegistryError(
                f"{digest}: expected the {size} bytes that a manifest names, found that the blob "
                f"of this digest has {status.st_size}; the manifest is wrong"
            )
        return path

    def read(self, digest: str, size: int) -> bytes | None:
        """A small blob's bytes; see `take`."""
        path = self.take(digest, size)
        return None if path is None else path.read_bytes()

    def put(self, data: bytes) -> str:
        """Keep small content that came from elsewhere; returns its digest."""
        digest = f"sha256:{hash_bytes(data)}"
        if self.take(digest, len(data)) is None:
            write_bytes(self.path(digest), data)
            self.path(digest).chmod(0o444)
            self.verified.remember(self.path(digest), digest, durable=True)
        return digest

    def lock_partial(self, digest: str) -> Partial | None:
        """A blob's part that has arrived so far, locked; None if somebody is fetching it."""
        return Partial.try_lock(self.partials / hex_of(digest))

    def is_arriving(self, digest: str) -> bool:
        """Whether somebody is fetching a blob at this moment."""
        return is_locked(self.partials / hex_of(digest))

    def arrived(self, digest: str, size: int) -> int:
        """About how many bytes have arrived of a blob of `size` bytes that is being fetched."""
        return arrived(self.partials / hex_of(digest), size)

    def adopt(self, partial: Partial, digest: str) -> None:
        """Make a blob of what has arrived and was found to be right."""
        path = self.path(digest)
        partial.rename(path)
        self.verified.remember(path, digest, durable=False)

    def blobs(self) -> list[CachedBlob]:
        """All blobs, the ones used last at the end."""
        found = []
        for path in (self.folder / "blobs").glob("*/*"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append(
                CachedBlob(
                    digest=f"sha256:{path.name}",
                    size=status.st_size,
                    last_use=self.verified.last_use(status),
                    path=path,
                )
            )
        return sorted(found, key=lambda blob: (blob.last_use, blob.digest))

    def verify(self) -> Iterator[tuple[CachedBlob, bool]]:
        """Hash every blob; whether it is right. Those that are not are dropped."""
        for blob in self.blobs():
            if blob.path.exists():
                yield blob, self._check(blob.path, blob.digest, always=True)

    def _check(self, path: Path, digest: str, *, always: bool = False) -> bool:
        if not always and self.verified.knows(path, digest, fresh=True):
            return True
        found = hash_file(path)
        if found == hex_of(digest):
            self.verified.remember(path, digest, durable=False)
            return True
        _log.warning(
            "%s: was altered on the disk: expected sha256 %s, found %s; it is dropped from the "
            "cache. Files linked to it are altered too: pull them again",
            path,
            hex_of(digest),
            found,
        )
        self.verified.forget(path.stat())
        path.unlink(missing_ok=True)
        return False
