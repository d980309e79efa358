"""How commands print: one JSON document, or text and tables that need no terminal."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")
]

_WIDTH_WITHOUT_TERMINAL = 200
"""Columns; logs and pipes wrap for themselves."""


def print_json(value: Any) -> None:
    """Print the one JSON document of a command."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_note(text: str) -> None:
    """Tell the user something that is no data."""
    print(text, file=sys.stderr)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows below column names; columns whose name begins with > are numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        if name.startswith(">"):
            table.add_column(name.removeprefix(">"), justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    make_console().print(table)


def make_console(*, stderr: bool = False) -> "Console":
    """A console that prints text as it is, without markup and highlighting."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDTH_WITHOUT_TERMINAL
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)


def is_interactive() -> bool:
    """Whether somebody sits at the terminal, to be asked and to be shown progress."""
    return sys.stdin.isatty() and sys.stderr.isatty() and "CI" not in os.environ
