"""Putting a version's files into a target folder, all at once.

A file that the target has already is kept; others come from the cache, sharing its
bytes: as a clone (FICLONE, where the file system can), else as a hard link, else as a
copy. With a hard link, changing the file in the target would change the cache's blob:
so files are read-only, and the cache hashes a blob before it hands it out again.

The files get their names in a new folder, which then takes the target's place in one
step (`ptefoundry.registry.swap`). A failure before that leaves the target as it was.
"""

import fcntl
import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.bundle.manifest import MANIFEST_FILE, MEASURED_FILE, SIGNATURES, load_manifest
from ptefoundry.digest import hash_file
from ptefoundry.errors import (
    ArtifactError,
    ConfigError,
    ConflictError,
    DigestMismatchError,
)
from ptefoundry.files import sync
from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.disk import check_room, explain_full
from ptefoundry.registry.names import hex_of
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.paths import check_paths
from ptefoundry.registry.swap import new_folder_beside, recover, replace_folder

_FICLONE = 0x40049409
_PIECE = 1 << 20
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class TargetFile:
    """A file that a target is to have."""

    path: str
    """Relative, with forward slashes."""
    digest: str
    """`sha256:<hex>`"""
    size: int
    """Bytes."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A folder as it is, and what it is to have."""

    into: Path
    files: tuple[TargetFile, ...]
    """What it is to have, and nothing else."""
    missing: tuple[TargetFile, ...]
    """Those that it lacks, or has with other content; the cache must have them."""
    found: frozenset[str]
    """Paths that it has now."""

    @property
    def complete(self) -> bool:
        """Whether it is as it is to be."""
        return not self.missing and self.found == {file.path for file in self.files}


def bundle_files(folder: Path) -> set[str]:
    """Paths of what belongs to the bundle in a folder; none if there is no bundle.

    Files elsewhere than in its manifest are those that every bundle may have:
    measurements and signatures.
    """
    try:
        listed = {entry.path for entry in load_manifest(folder).files}
    except ArtifactError:
        return set()
    signatures = {path for path in _walk(folder) if path.startswith(f"{SIGNATURES}/")}
    return listed | signatures | {MANIFEST_FILE, MEASURED_FILE}


def inspect_target(
    into: Path,
    files: Sequence[TargetFile],
    cache: BlobCache,
    *,
    replaceable: Collection[str],
    rehash: bool = False,
) -> Target:
    """Find out what a target lacks. Files that may have changed are hashed.

    Args:
        into: the target, which need not be there.
        files: what it is to have.
        cache: knows which files are unchanged.
        replaceable: paths of an older version's files (`bundle_files`).
        rehash: hash all files, also those that show no change since they were hashed.

    Raises:
        ConfigError: the target is no folder that may be replaced: it is a file or a
            link, or holds files that are neither wanted nor replaceable.
        RegistryError: a path leaves the target, or two files have the same.
    """
    check_paths((file.path for file in files), where=str(into))
    _check_folder(into)
    into = into.resolve()
    recover(into)
    found = frozenset(_walk(into)) if into.is_dir() else frozenset[str]()
    wanted = {file.path: file for file in files}
    right = {
        path
        for path, file in wanted.items()
        if path in found and _is_right(into / path, file, cache, rehash=rehash)
    }
    foreign = sorted(path for path in found - right if path not in replaceable)
    if foreign:
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        raise ConfigError(
            f"{into}: expected no folder, an empty one or a bundle, found files that are not of "
            f"one: {', '.join(foreign[:_SHOWN])}{more}; nothing was changed. Move them away or "
            "name another target"
        )
    target = Target(
        into=into,
        files=tuple(files),
        missing=tuple(file for file in files if file.path not in right),
        found=found,
    )
    if not target.complete:
        _check_not_inside(into)
    return target


def check_target_room(target: Target, cache: BlobCache) -> None:
    """Check that the target's disk has room for what it lacks, if that is not the cache's disk.

    On the same disk files share their bytes with the cache, which looks for room itself.

    Raises:
        DiskFullError: it has not.
    """
    folder = next(path for path in target.into.parents if path.is_dir())
    cache.folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_dev != cache.folder.stat().st_dev:
        size = sum(file.size for file in target.missing)
        what = f"{target.into.name} with {len(target.missing)} new files"
        check_room(folder, size, what=what, advice="make room, or name a target on another disk")


def publish(target: Target, cache: BlobCache) -> None:
    """Make a target what it is to be; the cache holds what it lacks.

    Raises:
        DigestMismatchError: a blob is not in the cache, or was altered there.
        ConflictError: somebody put files into the target meanwhile.
        DiskFullError: there is no room for copies.
    """
    if target.complete:
        return
    missing = {file.path for file in target.missing}
    with new_folder_beside(target.into) as folder:
        for file in target.files:
            if file.path in missing:
                _place_blob(file, folder / file.path, cache)
            else:
                _place_kept(target.into / file.path, folder / file.path, file)
        _flush(folder)
        replace_folder(folder, target.into, check=lambda old: _check_unchanged(old, target))
    # Linking and unlinking moved the times of change by which files are known.
    for file in target.files:
        cache.verified.remember(target.into / file.path, file.digest, durable=True)


def _is_right(path: Path, file: TargetFile, cache: BlobCache, *, rehash: bool) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
        return False
    if cache.verified.knows(path, file.digest, fresh=rehash):
        return True
    if hash_file(path) != hex_of(file.digest):
        return False
    cache.verified.remember(path, file.digest, durable=False)
    return True


def _place_blob(file: TargetFile, path: Path, cache: BlobCache) -> None:
    blob = cache.take(file.digest, file.size)
    if blob is None:
        raise DigestMismatchError(
            f"{cache.path(file.digest)}: expected the bytes of {file.path} in the cache, found "
            "none, or altered ones that were dropped; run again to fetch them"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    if not _clone(blob, path) and not _link(blob, path):
        _copy(blob, path, file)


def _place_kept(source: Path, path: Path, file: TargetFile) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not _link(source, path):
        _copy(source, path, file)


def _clone(source: Path, path: Path) -> bool:
    """Share the bytes with a new file, if the file system can."""
    with source.open("rb") as reader, path.open("xb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except OSError:
            path.unlink()
            return False
        os.fchmod(writer.fileno(), 0o444)
    return True


def _link(source: Path, path: Path) -> bool:
    """Share the file, if it is on the same disk and may have another name."""
    try:
        path.hardlink_to(source)
    except OSError:
        return False
    return True


def _copy(source: Path, path: Path, file: TargetFile) -> None:
    """Copy, hashing what is read: no other bytes than the right ones arrive."""
    digest = hashlib.sha256()
    try:
        with source.open("rb") as reader, path.open("xb") as writer:
            while piece := reader.read(_PIECE):
                digest.update(piece)
                writer.write(piece)
            os.fchmod(writer.fileno(), 0o444)
    except OSError as error:
        raise explain_full(error, path, file.size) from error
    if digest.hexdigest() != hex_of(file.digest):
        raise DigestMismatchError(
            f"{source}: expected {file.digest}, read {digest.hexdigest()}; the disk damages it"
        )


def _flush(folder: Path) -> None:
    # At once: disks write for several who wait in the time that one of them takes.
    for _ in for_each(sync, (*folder.rglob("*"), folder)):
        pass


def _check_folder(into: Path) -> None:
    if into.is_symlink():
        raise ConfigError(
            f"{into}: expected a folder, found a link to {into.readlink()}; name the folder itself"
        )
    if into.exists() and not into.is_dir():
        raise ConfigError(f"{into}: expected a folder, found a file; name another target")


def _check_not_inside(into: Path) -> None:
    if into.exists() and Path.cwd().is_relative_to(into.resolve()):
        raise ConfigError(
            f"{into}: expected another folder than the one this command runs in, which would be "
            "replaced under it; go to the folder above and run again"
        )


def _check_unchanged(old: Path, target: Target) -> None:
    if new := sorted({*_walk(old)} - target.found - {file.path for file in target.files}):
        raise ConflictError(
            f"{target.into}: somebody put {', '.join(new[:_SHOWN])} there meanwhile; nothing was "
            "changed, run again"
        )


def _walk(folder: Path) -> Iterator[str]:
    """Relative paths of all that is no folder."""
    for root, folders, files in os.walk(folder):
        links = [name for name in folders if Path(root, name).is_symlink()]
        for name in (*files, *links):
            yield Path(root, name).relative_to(folder).as_posix()
