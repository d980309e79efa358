"""Registries as folders: what a store in memory holds, written as files, and back."""

from collections.abc import Callable
from pathlib import Path

from ptefoundry.registry.content import Blob
from ptefoundry.registry.pack import PackedVersion
from ptefoundry.registry.push import NewVersion, push_version
from ptefoundry.registry.registry import init_registry
from ptefoundry.registry.store.memory import MemoryStore

NOW = 1_800_000_000.0


def empty_registry() -> MemoryStore:
    """A registry without versions, at a time that stands still."""
    store = MemoryStore(clock=lambda: NOW)
    init_registry(store)
    return store


def push(
    store: MemoryStore,
    packed: PackedVersion,
    *,
    at: float = NOW,
    attach: Callable[[], None] = lambda: None,
) -> None:
    """Publish a packed version."""
    blobs: tuple[Blob, ...] = packed.blobs
    new = NewVersion(name=packed.name, version=packed.version, index=packed.index, blobs=blobs)
    push_version(store, new, by="ci", clock=lambda: at, attach=attach)


def write_folder(store: MemoryStore, folder: Path) -> Path:
    """Every object as a file under its key."""
    for info in store.list(""):
        path = folder / info.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.read(info.key, limit=info.size)[0])
    return folder


def read_folder(folder: Path) -> MemoryStore:
    """A store that holds the files of a folder."""
    store = MemoryStore(clock=lambda: NOW)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.create(path.relative_to(folder).as_posix(), path.read_bytes())
    return store
