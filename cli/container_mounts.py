"""What a build in a container sees of this machine: all under the names it has here.

So paths in settings, and what DVC remembers of files by their paths, hold in there too.
"""

import getpass
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from ptefoundry.container.job import Mount, same_place
from ptefoundry.errors import ConfigError
from ptefoundry.files import remove
from ptefoundry.params import Params
from ptefoundry.process import run
from ptefoundry.workspace import cache_folder

from .graph import opened

_LOCAL = "file:"
_TEMPORARY = Path(".dvc") / "tmp"
_PRIVATE = _TEMPORARY / "container"


def workspace_mounts(root: Path, params: Params) -> tuple[Mount, ...]:
    """The workspace, its caches and local sources, and git's folder."""
    writable = [root, *_dvc_folders(root), _existing(cache_folder())]
    readable = [*_git_folders(root), *_local_sources(root, params), *_dvc_settings().values()]
    mounts = {path: same_place(path) for path in writable}
    for path in readable:
        if not any(path.is_relative_to(folder) for folder in writable):
            mounts[path] = same_place(path, read_only=True)
    return (*mounts.values(), _private_dvc_files(root))


def workspace_environment(root: Path) -> Mapping[str, str]:
    """What tells DVC and ptefoundry where things are."""
    with opened(root) as repo:
        site_cache = Path(repo.site_cache_dir)
    settings = {
        f"DVC_{kind}_CONFIG_DIR": str(file.parent) for kind, file in _dvc_settings().items()
    }
    return {
        "PTEFOUNDRY_CACHE": str(cache_folder().absolute()),
        # Without what belongs to the workspace alone, which DVC adds again.
        "DVC_SITE_CACHE_DIR": str(site_cache.parents[1]),
        # It knows a workspace by the user's name too.
        "USER": getpass.getuser(),
        "LOGNAME": getpass.getuser(),
        **settings,
    }


def _dvc_folders(root: Path) -> Iterator[Path]:
    """DVC's cache, and where it remembers the digests of files."""
    with opened(root) as repo:
        # With the run cache, which is beside the objects.
        yield _existing(Path(repo.cache.local_cache_dir))
        yield _existing(Path(repo.site_cache_dir))


def _dvc_settings() -> dict[str, Path]:
    """Kind -> file of the user's and the machine's settings of DVC, where there are such."""
    from dvc.dirs import global_config_dir, system_config_dir

    folders = {"GLOBAL": Path(global_config_dir()), "SYSTEM": Path(system_config_dir())}
    files = {kind: folder / "config" for kind, folder in folders.items()}
    return {kind: file for kind, file in files.items() if file.is_file()}


def _git_folders(root: Path) -> Iterator[Path]:
    """The repository may be further up, and a worktree's is elsewhere."""
    options = ("rev-parse", "--path-format=absolute")
    top = Path(run(["git", *options, "--show-toplevel"], cwd=root).strip())
    yield top / ".git"
    yield Path(run(["git", *options, "--git-common-dir"], cwd=root).strip())


def _local_sources(root: Path, params: Params) -> Iterator[Path]:
    sources = [params.base.source, *(adapter.source for adapter in params.adapters.values())]
    for source in sources:
        if source.startswith(_LOCAL):
            path = Path(os.path.normpath(root / source.removeprefix(_LOCAL)))
            if not path.exists():
                raise ConfigError(f"params.yaml: {source}: expected a file or folder, found none")
            yield path


def forget_locks(root: Path) -> None:
    """Remove what a build in a container that was killed has left locked."""
    for name in ("lock", "rwlock", "rwlock.lock"):
        remove(root / _PRIVATE / name)


def _private_dvc_files(root: Path) -> Mount:
    """A folder in place of `.dvc/tmp`; see `exclusion`."""
    folder = _existing(root / _PRIVATE)
    # By this file's date DVC knows the workspace again.
    shutil.copy2(root / _TEMPORARY / "btime", folder)
    return Mount(source=folder, target=root / _TEMPORARY)


def _existing(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()
