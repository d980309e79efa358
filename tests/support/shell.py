"""The installed command as a user runs it, with nothing of the machine's own settings."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.cli.main import main

PROGRAM = str(Path(sys.executable).with_name("ptefoundry"))


@dataclass
class Shell:
    """Runs `ptefoundry` in a folder, without a terminal and in a home that begins empty."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    """What is set beside PATH and HOME."""
    enter: tuple[str, ...] = ()
    """What runs the command that is appended to it, such as in another namespace."""

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def start(self, *arguments: str, **changes: str) -> "subprocess.Popen[str]":
        """Begin to run a command with changes to its environment."""
        self.home.mkdir(parents=True, exist_ok=True)
        base = {"PATH": os.defpath, "HOME": str(self.home)}
        return subprocess.Popen(
            [*self.enter, PROGRAM, *arguments],
            cwd=self.folder,
            env={**base, **self.environment, **changes},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0, **changes: str) -> str:
        """What a command prints, which must end with that code."""
        output, error = finish(self.start(*arguments, **changes), code=code)
        assert not error or error.endswith("\n")
        return output

    def json(self, *arguments: str, **changes: str) -> Any:
        """The one JSON document that a command prints with --json."""
        return json.loads(self.run(*arguments, "--json", **changes))

    def refuse(self, *arguments: str, code: int, **changes: str) -> str:
        """The one line with which a command fails; what comes before it is notes."""
        output, error = finish(self.start(*arguments, **changes), code=code)
        return _one_line(output, error)


class QuickShell(Shell):
    """Refusals in the test's own process: starting one takes most of a command's time."""

    def refuse(self, *arguments: str, code: int, **changes: str) -> str:
        """As a process would fail, through the same `main`."""
        self.home.mkdir(parents=True, exist_ok=True)
        output, errors = io.StringIO(), io.StringIO()
        variables = {"HOME": str(self.home), **self.environment, **changes}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            patch.delenv("PTEFOUNDRY_CACHE", raising=False)
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", [PROGRAM, *arguments])
            with (
                redirect_stdout(output),
                redirect_stderr(errors),
                pytest.raises(SystemExit) as left,
            ):
                main()
        assert left.value.code == code, errors.getvalue()
        return _one_line(output.getvalue(), errors.getvalue())


def finish(process: "subprocess.Popen[str]", *, code: int | None = None) -> tuple[str, str]:
    """Output and errors of a command; its code is compared if one is given."""
    output, error = process.communicate()
    assert code in (None, process.returncode), f"{process.returncode}\n{output}\n{error}"
    return output, error


def _one_line(output: str, error: str) -> str:
    assert output == ""
    *notes, last = error.splitlines()
    assert last.startswith("error: "), error
    assert not any(line.startswith(("error", "Traceback", " ")) for line in notes), error
    return last.removeprefix("error: ")


def without_aws(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without credentials."""
    return {
        name: value
        for name, value in environment.items()
        if name not in {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    }
