"""The folder that a fetch results in: its digest and its files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.digest import hash_file, hash_tree


@dataclass(frozen=True, kw_only=True)
class FetchedSource:
    """What arrived."""

    digest: str
    """`content_digest` of the folder; what to pin."""
    resolved: str | None
    """The commit that a branch or tag stood for, for the user to pin; None if the source
    names a commit or has none, and if the content was in the cache by its digest."""
    files: Mapping[str, int]
    """Relative POSIX path -> size in bytes."""


def content_digest(folder: Path) -> str:
    """The digest that pins a fetched folder.

    A folder of one file has that file's SHA-256, so that `sha256sum` of a single
    download can be written down as it is; any other has `hash_tree`'s.
    """
    files = [path for path in folder.rglob("*") if path.is_file()]
    return hash_file(files[0]) if len(files) == 1 else hash_tree(folder)


def file_sizes(folder: Path) -> dict[str, int]:
    """Relative POSIX path -> size in bytes of every file below `folder`, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
