"""What differs between two versions, and what an update from one to the other moves."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ptefoundry.registry.version import VariantContent


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """A file that two versions do not have alike."""

    path: str
    before: int | None
    """Bytes, None if the file is new."""
    after: int | None
    """Bytes, None if the file is gone."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What differs between two versions."""

    variants_added: tuple[str, ...]
    """`backend/adapter`"""
    variants_removed: tuple[str, ...]
    files: tuple[FileChange, ...]
    same_bytes: int
    """In files that both have."""
    moved_bytes: int
    """What who has all of the one fetches for all of the other; its documents not counted."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def compare(before: Iterable[VariantContent], after: Iterable[VariantContent]) -> Difference:
    """Compare the variants of two versions, file by file and by digest."""
    old, new = list(before), list(after)
    old_names, new_names = _names(old), _names(new)
    old_files, new_files = _files(old), _files(new)
    known = {digest for digest, _ in old_files.values()}
    fetched = {digest: size for digest, size in new_files.values() if digest not in known}
    kept = {digest: size for digest, size in new_files.values() if digest in known}
    changed = (
        path
        for path in sorted(old_files.keys() | new_files.keys())
        if old_files.get(path) != new_files.get(path)
    )
    return Difference(
        variants_added=tuple(sorted(new_names - old_names)),
        variants_removed=tuple(sorted(old_names - new_names)),
        files=tuple(
            FileChange(path=path, before=_size(old_files, path), after=_size(new_files, path))
            for path in changed
        ),
        same_bytes=sum(kept.values()),
        moved_bytes=sum(fetched.values()),
    )


def _names(contents: Iterable[VariantContent]) -> set[str]:
    return {f"{content.facts.backend}/{content.facts.adapter}" for content in contents}


def _files(contents: Iterable[VariantContent]) -> dict[str, tuple[str, int]]:
    """Digest and size by path; the listing, which is merged, left out."""
    return {
        layer.path: (layer.descriptor.digest, layer.descriptor.size)
        for content in contents
        for layer in content.layers[:-1]
    }


def _size(files: dict[str, tuple[str, int]], path: str) -> int | None:
    return files[path][1] if path in files else None
