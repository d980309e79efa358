"""`ptefoundry inspect`: what is in a program, a data file or a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from ptefoundry.errors import ConfigError

from .output import JsonOption, print_json


def inspect(
    path: Annotated[
        Path, typer.Argument(metavar="FILE_OR_BUNDLE", help="A .pte, a .ptd or a bundle's folder.")
    ],
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare a bundle's files with its manifest.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a .pte, .ptd or bundle holds.

    Methods, tensors and sizes, and what the variants of a bundle share.
    """
    from ptefoundry.bundle.inspect import inspect_path

    if verify:
        _verify(path)
    report = inspect_path(path)
    if as_json:
        print_json(report.to_dict())
    else:
        from .inspect_text import show_report

        show_report(report)
        if verify:
            print("every file is as the manifest says")


def _verify(path: Path) -> None:
    from ptefoundry.bundle.check import check_files

    if not path.is_dir():
        raise ConfigError(f"--verify: expected a bundle's folder, found {path}")
    check_files(path)
