"""Clean clones of a workspace, to measure builds from nothing; a tiny one if none is named."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

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
        """Of a command of ptefoundry, a process of its own.

        Raises:
            SystemExit: it failed; with what it says.
        """
        start = time.perf_counter()
        self.output(*arguments)
        return time.perf_counter() - start

    def output(self, *arguments: str) -> str:
        """Standard output of a command of ptefoundry; raises as `seconds`."""
        done = subprocess.run(
            [_PROGRAM, *arguments],
            cwd=self.root,
            env={**os.environ, "PTEFOUNDRY_CACHE": str(self.parts["ptefoundry's cache"])},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"ptefoundry {' '.join(arguments)} failed:\n{done.stderr}")
        return done.stdout


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
