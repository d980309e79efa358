"""The base of a workspace, as far as commands must know it before it is built."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.base.config import ModelConfig, load_config
from ptefoundry.base.sources import ADAPTER_FILES, BASE_FILES, FetchedSource, Wanted, fetch
from ptefoundry.params import BaseParams, Params
from ptefoundry.workspace import PARAMS_FILE, Workspace, cache_folder

from .dvc_files import read_stages
from .sources import Pinned, pin


@dataclass(frozen=True, kw_only=True)
class CheckedBase:
    """A base that was fetched and can be opened."""

    pinned: Pinned
    config: ModelConfig
    size: int
    """Bytes of its files."""


def check_base(source: str, *, root: Path, where: str, digest: str | None = None) -> CheckedBase:
    """Fetch a base, into the cache too, and open it.

    Raises:
        SourceError: it cannot be fetched.
        CheckpointError: it is no base that can be built.
    """
    from ptefoundry.base.checkpoints import open_checkpoint

    with fetched(source, BASE_FILES, root=root, where=where, digest=digest) as (folder, found):
        with open_checkpoint(folder) as checkpoint:
            config = checkpoint.config
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return CheckedBase(pinned=pin(source, found), config=config, size=size)


@contextmanager
def fetched(
    source: str, wanted: Wanted, *, root: Path, where: str, digest: str | None = None
) -> Iterator[tuple[Path, FetchedSource]]:
    """A temporary folder with a source's files; what was downloaded stays in the cache."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    # Beside the cache, whose files are then linked instead of copied.
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetched-") as name:
        folder = Path(name) / "files"
        found = fetch(
            source, folder, digest=digest, wanted=wanted, root=root, cache=cache, where=where
        )
        yield folder, found


@contextmanager
def fetched_adapter(source: str, *, root: Path) -> Iterator[tuple[Path, Pinned]]:
    """A temporary folder with an adapter's files, and what to pin of it."""
    with fetched(source, ADAPTER_FILES, root=root, where="SOURCE") as (folder, found):
        yield folder, pin(source, found)


def load_base_config(workspace: Workspace, params: Params) -> ModelConfig:
    """The shape of the workspace's base: of the built one, else it is fetched.

    Raises:
        SourceError: it is not built and cannot be fetched.
        CheckpointError: it is no base that can be built.
    """
    built = workspace.canonical_base / "config.json"
    if built.is_file() and _is_built(workspace.root, params.base):
        return load_config(built)
    return check_base(
        params.base.source,
        root=workspace.root,
        where=f"{PARAMS_FILE}: base.source",
        digest=params.base.digest,
    ).config


def _is_built(root: Path, base: BaseParams) -> bool:
    """Whether the base in the artifacts is the one that params.yaml names now."""
    stage = read_stages(root).get("fetch-base", {})
    fields = {"name": base.name, "source": base.source, "digest": base.digest}
    written = {name: value for name, value in fields.items() if value is not None}
    return bool(stage.get("params", {}).get(PARAMS_FILE, {}).get("base") == written)
