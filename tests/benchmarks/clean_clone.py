"""Clean clones of a workspace, to measure builds from nothing; a tiny one if none is named."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from measure import timed

from support.tiny_workspace import TinyWorkspace

_PROGRAM = Path(sys.executable).with_name("ptefoundry")


@dataclass(frozen=True)
class CleanClone:
    """A workspace with DVC's cache and ptefoundry's below it, and nothing built."""

    root: Path

    @property
    def parts(self) -> dict[str, Path]:
        """Folders that what is built takes room in."""
        return {
            "artifacts": self.root / "artifacts",
            "DVC's cache": self.root / ".dvc" / "cache",
            "ptefoundry's cache": self.root / ".downloads",
        }

    def seconds(self, *arguments: str) -> float:
        """Of a command of ptefoundry, a process of its own, that must succeed."""
        with self._as_current():
            return timed([_PROGRAM, *arguments])[0]

    @contextmanager
    def _as_current(self) -> Iterator[None]:
        before = Path.cwd(), dict(os.environ)
        os.chdir(self.root)
        os.environ["PTEFOUNDRY_CACHE"] = str(self.parts["ptefoundry's cache"])
        try:
            yield
        finally:
            os.chdir(before[0])
            os.environ.clear()
            os.environ.update(before[1])


def origin_in(folder: Path, workspace: Path | None) -> Path:
    """The workspace to clone: the one that is named, or a tiny one with two adapters."""
    if workspace is not None:
        return workspace.resolve()
    origin = TinyWorkspace(folder / "origin", folder / "unused").root
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in (["add", "-A"], ["commit", "-qm", "A workspace"]):
        subprocess.run(["git", *identity, *command], cwd=origin, check=True)
    return origin


def clone(origin: Path, root: Path, *, remote: str = "", cache_type: str = "") -> CleanClone:
    """Clone what is committed of a workspace.

    Args:
        origin: the workspace.
        root: the clone's folder.
        remote: URL of a shared cache.
        cache_type: DVC's setting; else that of the workspace.
    """
    subprocess.run(["git", "clone", "-q", str(origin), str(root)], check=True)
    lines = ["[core]", *(["remote = benchmark"] if remote else []), "[cache]", "dir = cache"]
    lines += [f'type = "{cache_type}"'] if cache_type else []
    lines += ["['remote \"benchmark\"']", f"url = {remote}"] if remote else []
    (root / ".dvc" / "config.local").write_text("\n".join(lines) + "\n")
    return CleanClone(root)
