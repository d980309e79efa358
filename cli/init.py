"""`ptefoundry init`: a workspace for one's own model, in one's own repository."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ptefoundry.errors import ConfigError

from .output import is_interactive, print_note

if TYPE_CHECKING:
    from .base import CheckedBase

_DEFAULT_CONTEXT = 1024
_Answer = TypeVar("_Answer", str, int)


def init(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Folder to make the workspace in; made if missing."),
    ],
    *,
    name: Annotated[str | None, typer.Option(help="Name of the bundle; else the folder's.")] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="The base: a path, hf:org/name@revision, pypi:name==version/path, "
            "s3://bucket/prefix/ or https://host/path/file.",
        ),
    ] = None,
    base_name: Annotated[
        str | None, typer.Option(help="What adapters call the base, usually org/model.")
    ] = None,
    context_length: Annotated[
        int | None, typer.Option(min=2, help="Tokens of prompt and answer together.")
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch/--no-fetch", help="Fetch the base now, check and pin it.")
    ] = True,
) -> None:
    """Make a workspace for your own model.

    Writes params.yaml and the build graph, and starts git and DVC.

    What is not given is asked for, if there is a terminal.
    """
    from .new_workspace import NewWorkspace, check_name, check_unused, default_name, make_workspace
    from .sources import Pinned, guess_base_name, parse_typed_source

    check_unused(directory)
    name = check_name(name or _ask("Name of the bundle", default_name(directory)))
    source = parse_typed_source(base or _ask_base(), root=directory, where="--base")
    found = _fetch(source, directory) if fetch else None
    new = NewWorkspace(
        name=name,
        base=found.pinned if found else Pinned(source=source, digest=None),
        base_name=base_name or _ask("What adapters call the base", guess_base_name(source)),
        context_length=_choose_context(context_length, found),
    )
    make_workspace(directory, new)
    _tell_next_steps(directory)


def _ask(question: str, default: _Answer) -> _Answer:
    """Ask at a terminal; elsewhere the default is the answer."""
    if not is_interactive():
        return default
    answer: _Answer = typer.prompt(question, default=default, type=type(default), err=True)
    return answer


def _ask_base() -> str:
    if not is_interactive():
        raise ConfigError("--base: expected the base's source, found none, and nobody to ask")
    return str(typer.prompt("Base (a path, hf:org/name@revision, ...)", err=True))


def _fetch(source: str, root: Path) -> "CheckedBase":
    from ptefoundry.report import format_size

    from .base import check_base

    print_note(f"fetching {source}")
    # A `file:` source is looked up from here.
    root.mkdir(parents=True, exist_ok=True)
    base = check_base(source, root=root, where="--base")
    print_note(
        f"base: {base.config.architecture}, {base.config.n_layers} layers, "
        f"{format_size(base.size)}; {base.pinned}"
    )
    return base


def _choose_context(given: int | None, base: "CheckedBase | None") -> int:
    longest = base.config.max_context if base else None
    if given is None:
        default = min(_DEFAULT_CONTEXT, longest or _DEFAULT_CONTEXT)
        given = _ask("Context length in tokens", default)
    if longest is not None and given > longest:
        raise ConfigError(
            f"--context-length: expected at most the {longest} tokens of the base, found {given}"
        )
    return given


def _tell_next_steps(root: Path) -> None:
    from .new_workspace import relative_to_here

    print(f"made a workspace in {root}; next:")
    here = relative_to_here(root)
    if here != ".":
        print(f"  cd {here}")
    print("  ptefoundry adapter add NAME SOURCE    a PEFT LoRA adapter; repeat for each")
    print("  ptefoundry build")
