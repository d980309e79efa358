"""What was built for adapters and options that params.yaml no longer has.

DVC forgets a stage with its parameters and leaves its files. They are found by
the layout of dvc.yaml alone, so nothing else is ever touched; their content stays
in DVC's cache.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ptefoundry.adapter.names import RESERVED
from ptefoundry.params import Params
from ptefoundry.workspace import Workspace

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def find_leftovers(workspace: Workspace, params: Params) -> list[Path]:
    """Files and folders of adapters that are gone, and of quantization that was undone; sorted."""
    kept = {*params.adapters, *RESERVED}
    found = {
        path
        for path in _adapter_outputs(workspace.artifacts)
        if _NAME.fullmatch(path.stem) and path.stem not in kept
    }
    xnnpack = params.backends.xnnpack
    if xnnpack is None or not xnnpack.schemes.any:
        found |= set(_folders(workspace.artifacts, "quantized-reference/*/*"))
    return sorted(found)


def remove_leftovers(workspace: Workspace, params: Params) -> list[Path]:
    """Remove what `find_leftovers` finds; returns it."""
    found = find_leftovers(workspace, params)
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return found


def _adapter_outputs(artifacts: Path) -> Iterator[Path]:
    """Everything at places where dvc.yaml puts the outputs of one adapter."""
    for pattern in (
        "adapters/fetched/*",
        "adapters/canonical/*",
        "reference/*",
        "quantized-reference/*/*",
        "smoke/*/*",
    ):
        yield from _folders(artifacts, pattern)
    for pattern in ("adapters/fetched/*.sha256", "link/*/*.pte"):
        yield from (path for path in artifacts.glob(pattern) if path.is_file())


def _folders(artifacts: Path, pattern: str) -> Iterator[Path]:
    return (path for path in artifacts.glob(pattern) if path.is_dir() and not path.suffix)
