"""A clean workspace to build again in: only what was recorded, and its inputs."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from ptefoundry.base.sources.cache import keep_content, take_content
from ptefoundry.errors import SourceError
from ptefoundry.files import write_text
from ptefoundry.graph import sync_graph
from ptefoundry.rebuild.record import BuildRecord
from ptefoundry.toolchain import pin_toolchain
from ptefoundry.workspace import PARAMS_FILE, Workspace

_LOCAL = "file:"
_SOURCE_CONTROL = "[core]\n    no_scm = true\n"


def make_tree(
    record: BuildRecord, original: Path, root: Path, toolchain: Mapping[str, Any]
) -> Workspace:
    """Make `root` a workspace that has built nothing.

    Its params.yaml is what was recorded. Local inputs are copied from the original workspace.

    Args:
        record: of the build.
        original: the workspace that was built.
        root: a folder that is not there yet, in a folder of its own.
        toolchain: that it will be built with.

    Raises:
        SourceError: a local input is gone.
        ConfigError: what was recorded is no longer understood.
    """
    (root / ".dvc" / "tmp").mkdir(parents=True)
    config = (files("ptefoundry") / "templates" / "dvc_config").read_text()
    write_text(root / ".dvc" / "config", _SOURCE_CONTROL + config.replace("[core]\n", "", 1))
    # Every JSON document is a YAML document; not every parser takes pairs of surrogates.
    params = json.dumps(_without_defaults(record.params), indent=2, ensure_ascii=False)
    write_text(root / PARAMS_FILE, params + "\n")
    for name, source in record.sources.items():
        if source["source"].startswith(_LOCAL):
            _copy_input(name, source["source"].removeprefix(_LOCAL), original, root)
    pin_toolchain(root, toolchain)
    sync_graph(root)
    return Workspace(root)


def depth_below(sources: Iterable[str]) -> int:
    """How many folders deep a tree must be so that `file:../x` stays within the outermost."""
    return max((Path(source).parts.count("..") for source in sources), default=0)


def bring_downloads(record: BuildRecord, cache: Path, into: Path) -> None:
    """Copy what is pinned and was downloaded before from one cache of sources to another.

    It is checked against its digest on the way. What is not there is downloaded when it is needed.
    """
    for source in record.sources.values():
        digest = source.get("digest", "").removeprefix("sha256:")
        if not digest:
            continue
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into) as name:
            if take_content(cache, digest, Path(name)):
                keep_content(into, digest, Path(name))


def _copy_input(name: str, path: str, original: Path, root: Path) -> None:
    if Path(path).is_absolute():
        return  # It is where it was.
    source, target = original / path, root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise SourceError(
            f"{source}: expected the input {name} of the bundle, found none; put back what it was "
            "built of"
        ) from error


def _without_defaults(params: dict[str, Any]) -> dict[str, Any]:
    """As params.yaml would say it: what is null there is left out."""
    return {
        key: _without_defaults(value) if isinstance(value, dict) else value
        for key, value in params.items()
        if value is not None
    }
