"""`ptefoundry doctor`: what this machine lacks, for which stage, and how to get it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptefoundry.errors import ConfigError, MissingToolError

from .output import JsonOption, print_json, print_table

if TYPE_CHECKING:
    from .machine import DiskSpace, Need


def doctor(
    *,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing; the exit code tells.")
    ] = False,
    stage: Annotated[
        str | None, typer.Option(help="Look only for what this stage needs by itself.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what this machine lacks for a build.

    Programs, packages, headers and disk space: which stage needs them, how to get them.
    """
    from ptefoundry.workspace import cache_folder

    from .machine import find_needs, measure_space

    root = _workspace_root()
    needs = _needs_of(stage, find_needs(root)) if stage else find_needs(root)
    space = measure_space({"workspace": root or Path.cwd(), "cache of downloads": cache_folder()})
    if as_json:
        print_json(
            {
                "needs": [need.to_dict() for need in needs],
                "space": [place.to_dict() for place in space],
            }
        )
    elif not quiet:
        _show(needs, space)
    if not all(need.ok for need in needs):
        raise typer.Exit(MissingToolError.exit_code)


def _needs_of(stage: str, needs: "list[Need]") -> "list[Need]":
    chosen = [need for need in needs if stage in need.stages]
    if not chosen:
        known = sorted({name for need in needs for name in need.stages})
        raise ConfigError(f"--stage: expected one of {', '.join(known)}, found {stage!r}")
    return chosen


def _workspace_root() -> Path | None:
    from ptefoundry.workspace import find_workspace

    try:
        return find_workspace(Path.cwd()).root
    except ConfigError:
        return None


def _show(needs: "list[Need]", space: "list[DiskSpace]") -> None:
    from ptefoundry.report import format_size

    rows = [
        ("ok" if need.ok else "missing", need.name, ", ".join(need.stages), need.found or need.get)
        for need in needs
    ]
    rows += [
        (
            "low" if place.low else "ok",
            f"disk space, {place.what}",
            "all",
            f"{format_size(place.free_bytes)} free at {place.path}",
        )
        for place in space
    ]
    print_table(("state", "what", "needed by", "found, or how to get it"), rows)
    missing = sum(not need.ok for need in needs)
    print(f"{missing} missing" if missing else "everything is here")
