"""A workspace with a tiny base and tiny adapters, on which the real graph runs in seconds."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ptefoundry.graph import sync_graph
from ptefoundry.toolchain import pin_toolchain
from support.tiny_models import save_tiny_adapter, save_tiny_base

_PARAMS = """\
bundle:
  name: tiny

base:
  name: tests/tiny
  source: file:models/base

adapters:
{adapters}
backends:
  xnnpack:
    context_length: 64
    prefill_length: 32

smoke:
  prompts:
    - The quick brown fox
    - Ünïcödé 🙂
  tokens: 8
"""
_RANKS = {"red": 4, "blue": 4}


class TinyWorkspace:
    """A workspace below `root`, made if there is none; its DVC cache may be shared with others."""

    def __init__(self, root: Path, cache: Path, adapters: Mapping[str, int] = _RANKS) -> None:
        """`adapters` has the rank of each."""
        self.root = root
        if not (root / "params.yaml").exists():
            self._make(cache, adapters)

    def _make(self, cache: Path, adapters: Mapping[str, int]) -> None:
        models = self.root / "models"
        save_tiny_base(models / "base")
        for seed, (name, rank) in enumerate(adapters.items(), start=1):
            save_tiny_adapter(models / "base", models / name, seed=seed, rank=rank)
        sections = "".join(f"  {name}:\n    source: file:models/{name}\n" for name in adapters)
        (self.root / "params.yaml").write_text(_PARAMS.format(adapters=sections))
        self._initialise(cache)

    def _initialise(self, cache: Path) -> None:
        for command in (["git", "init", "-q"], self.dvc("init", "-q")):
            subprocess.run(command, cwd=self.root, check=True)
        settings = {
            "core.analytics": "false",
            "core.check_update": "false",
            "cache.dir": str(cache),
            "cache.type": "hardlink,reflink,copy",
        }
        for key, value in settings.items():
            subprocess.run(self.dvc("config", key, value), cwd=self.root, check=True)
        pin_toolchain(self.root)
        sync_graph(self.root)

    def dvc(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "dvc", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """For commands run here: stages find this Python, downloads stay below the root."""
        folder = str(Path(sys.executable).parent)
        return {
            **os.environ,
            "PATH": folder + os.pathsep + os.environ["PATH"],
            "PTEFOUNDRY_CACHE": str(self.root / ".cache"),
            "CI": "true",
        }

    def start(self, *targets: str) -> "subprocess.Popen[str]":
        """Start `dvc repro` in a process group of its own."""
        return subprocess.Popen(
            self.dvc("repro", *targets),
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def repro(self, *targets: str) -> list[str]:
        """Run `dvc repro` to its end; returns the stages that were executed, in order."""
        process = self.start(*targets)
        output, _ = process.communicate()
        assert process.returncode == 0, output
        return executed(output)

    def run(self, *command: str) -> tuple[int, str]:
        """Run a command to its end; returns its exit code and all that it printed."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def replace_params(self, old: str, new: str) -> None:
        """Edit params.yaml."""
        path = self.root / "params.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        sync_graph(self.root)


def executed(output: str) -> list[str]:
    """Names of the stages that DVC ran, rather than skipped or restored, by its output."""
    lines = [line for line in output.splitlines() if line.startswith("Running stage")]
    return [line.split("'")[1] for line in lines]
