"""What DVC keeps in a workspace: its folder, and dvc.lock about the last runs of stages."""

import importlib.util
from pathlib import Path
from typing import Any

from ptefoundry.errors import ConfigError, MissingToolError

from .lock_pieces import LOCK_FILE, LockPieces, OtherFormError, total_size


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

    path = root / LOCK_FILE
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


def output_size(root: Path, stage: str) -> int:
    """Bytes of the outputs of a stage, when it ran last.

    Raises:
        ConfigError: dvc.lock is damaged.
    """
    try:
        found = LockPieces.read(root / LOCK_FILE).get(stage)
    except OtherFormError:
        found = read_stages(root).get(stage)
    return total_size(found)
