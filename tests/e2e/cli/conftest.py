"""The installed command in real workspaces whose stages are stand-ins."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_BIN = Path(sys.executable).parent
_STAND_INS = Path(__file__).parent / "stand_ins"
_ADAPTERS = """\
adapters:
  red:
    source: hf:example/red@main
  blue:
    source: hf:example/blue@main
"""


class CommandLine:
    """The console script `ptefoundry`, run in a workspace."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.program = str(_BIN / "ptefoundry")
        self.environment = {
            **os.environ,
            # The test must work where `python` is another one, or none.
            "PATH": os.defpath,
            "PYTHONPATH": str(_STAND_INS),
            "STAND_IN": str(root / "stand_in.json"),
            "PTEFOUNDRY_CACHE": str(root.parent / "cache"),
            "NO_COLOR": "1",
        }
        self.environment.pop("CI", None)

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [self.program, *arguments],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        process = self.start(*arguments)
        output, error = process.communicate(timeout=300)
        done = subprocess.CompletedProcess(arguments, process.returncode, output, error)
        assert done.returncode == code, f"{output}\n{error}"
        return done

    def behave(self, **stages: dict[str, Any]) -> None:
        """Say what stand-ins do; names of stages with _ for - and __ for @."""
        named = {
            name.replace("__", "@").replace("_", "-"): behaviour
            for name, behaviour in stages.items()
        }
        (self.root / "stand_in.json").write_text(json.dumps(named))


@pytest.fixture(scope="session")
def _made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "workspace"
    CommandLine(root.parent).run("init", root.name, "--base", "hf:example/tiny@main", "--no-fetch")
    params = root / "params.yaml"
    text = params.read_text().replace("adapters: {}\n", _ADAPTERS)
    # Beyond the 16 bits of what JSON escapes in one piece.
    params.write_text(text.replace("about the sea.", "about the sea 🙂"))
    return root


@pytest.fixture(scope="session")
def _built_once(_made_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built") / "workspace"
    shutil.copytree(_made_once, root)
    (root.parent / "first.json").write_text(CommandLine(root).run("build", "--json").stdout)
    return root


@pytest.fixture
def command_line(_made_once: Path, tmp_path: Path) -> CommandLine:
    """A workspace that was never built."""
    return CommandLine(shutil.copytree(_made_once, tmp_path / "workspace"))


@pytest.fixture
def built(_built_once: Path, tmp_path: Path) -> CommandLine:
    """A copy of a workspace that was built; what the build printed is in first.json."""
    shutil.copy(_built_once.parent / "first.json", tmp_path)
    return CommandLine(shutil.copytree(_built_once, tmp_path / "workspace"))
