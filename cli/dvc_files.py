"""What DVC keeps in a workspace: its folder, and dvc.lock about the last runs of stages."""

import functools
import importlib.util
from pathlib import Path
from typing import Any

from ptefoundry.errors import ConfigError, MissingToolError


def check_dvc(root: Path) -> None:
    """Refuse to go on without DVC, or where it would work with a repository further up.

    Raises:
        MissingToolError: DVC is not installed.
        ConfigError: the workspace is no DVC repository.
    """
    if importlib.util.find_spec("dvc") is None:
        raise MissingToolError(
            "expected the Python package dvc, found none; install it with `pip install dvc`"
        )
    if not (root / ".dvc").is_dir():
        raise ConfigError(
            f"{root}: expected the folder .dvc, found none; run `dvc init` there "
            "(`dvc init --subdir` if it is below the root of its git repository)"
        )


def read_stages(root: Path) -> dict[str, Any]:
    """Stage -> what DVC recorded of its last run; empty before the first.

    Raises:
        ConfigError: the file is damaged.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    path = root / "dvc.lock"
    if not path.is_file():
        return {}
    try:
        stages: dict[str, Any] = YAML(typ="safe").load(path.read_text())["stages"]
    except (YAMLError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: expected what DVC wrote, found something else ({error}); take it from git, "
            "or delete it and run `ptefoundry build`"
        ) from error
    return stages


def output_sizes(root: Path) -> dict[str, int]:
    """Stage -> bytes of its outputs."""
    path = root / "dvc.lock"
    state = path.stat() if path.is_file() else None
    return _output_sizes(root, state and (state.st_mtime_ns, state.st_ino))


@functools.lru_cache(maxsize=1)
def _output_sizes(root: Path, _version: tuple[int, int] | None) -> dict[str, int]:
    """Read again only when the file has changed: of hundreds of adapters it takes seconds."""
    return {
        name: sum(out.get("size", 0) for out in stage.get("outs", ()))
        for name, stage in read_stages(root).items()
    }
