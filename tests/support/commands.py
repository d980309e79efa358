"""Whether commands that documents and workflows name exist."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from ptefoundry.cli.main import app

_TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)


def check_command(words: Sequence[str]) -> None:
    """Fail unless `ptefoundry` would take these words.

    Args:
        words: of a command line that begins with `ptefoundry`.
    """
    rest = list(words[1:])
    command: Any = typer.main.get_command(app)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    assert not getattr(command, "commands", None) or rest == [], words
    try:
        command.make_context(words[0], rest)
    except typer.TyperException as error:
        raise AssertionError(f"{shlex.join(words)}: {error}") from error
    except typer.Exit:
        pass  # --help


def make_targets(makefile: Path) -> frozenset[str]:
    """Targets of a Makefile that have names, not paths."""
    return frozenset(_TARGET.findall(makefile.read_text()))
