"""ptefoundry's own code for a container: what is installed here, in one folder.

An installation may have it in several places (an editable one has), and may not be mounted
itself: Python writes bytecode beside what it imports.
"""

import importlib.metadata
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptefoundry.container.job import Mount
from ptefoundry.toolchain import runner_sources

CODE_FOLDER = Path("/opt/ptefoundry")
"""Where a container finds it; to be on PYTHONPATH."""

_PACKAGES = ("ptefoundry", "ptefoundry.stages", "ptefoundry.cli")
_IGNORED = shutil.ignore_patterns("__pycache__", "*.tmp")


@contextmanager
def code_mount(scratch: Path) -> Iterator[Mount]:
    """A copy of the code below `scratch`, for the time of the block."""
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="code-", dir=scratch) as folder:
        _copy_code(Path(folder))
        yield Mount(source=Path(folder), target=CODE_FOLDER)


def _copy_code(into: Path) -> None:
    for name in _PACKAGES:
        _copy(_package_folder(name), into.joinpath(*name.split(".")))
    _copy(runner_sources(), into / "ptefoundry" / "runner")
    # So that `importlib.metadata` knows the version in there too.
    distribution = importlib.metadata.distribution("ptefoundry")
    information = into / f"ptefoundry-{distribution.version}.dist-info"
    information.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (information / name).write_text(distribution.read_text(name) or "")


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=_IGNORED, dirs_exist_ok=True)


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
