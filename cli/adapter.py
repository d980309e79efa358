"""`ptefoundry adapter`: adding, checking, listing and removing adapters."""

from pathlib import Path
from typing import Annotated

import typer

from ptefoundry.errors import AdapterError

from .output import JsonOption, print_json, print_note, print_table

app = typer.Typer(
    name="adapter",
    help="Add, check, list and remove LoRA adapters.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

NameArgument = Annotated[str, typer.Argument(help="Name of the adapter in the bundle.")]
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="Folder of a PEFT adapter, or hf:org/name@revision, s3://bucket/prefix/ and so on.",
    ),
]


@app.command("add")
def add(
    name: NameArgument,
    source: SourceArgument,
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of the adapter of that name.")
    ] = False,
) -> None:
    """Check an adapter, pin it and write it into params.yaml."""
    from ptefoundry.adapter.names import check_name
    from ptefoundry.graph import sync_graph
    from ptefoundry.params import load_params
    from ptefoundry.workspace import find_workspace

    from .adapter_check import fit_source, new_stages
    from .params_file import set_adapter
    from .sources import parse_typed_source

    workspace = find_workspace(Path.cwd())
    params = load_params(workspace.root)
    check_name(name, where="NAME", taken=() if replace else params.adapters)
    typed = parse_typed_source(source, root=workspace.root, where="SOURCE")
    pinned, fitted = fit_source(workspace, params, typed)
    set_adapter(workspace.root, name, pinned)
    sync_graph(workspace.root)
    for warning in fitted.warnings:
        print_note(f"warning: {warning}")
    print(f"added {name}: {pinned}")
    print(new_stages(workspace, load_params(workspace.root), name, fitted))


@app.command("check")
def check(source: SourceArgument, *, as_json: JsonOption = False) -> None:
    """Show what an adapter holds and whether it fits.

    Tells every reason why it would be refused. Outside of a workspace it is compared with no base.
    """
    from .adapter_check import describe_source

    description, base_name = describe_source(source, Path.cwd())
    if as_json:
        print_json({"base": base_name, **description.to_dict()})
    else:
        from .adapter_text import show_description

        show_description(description, base_name)
    if not description.usable:
        raise typer.Exit(AdapterError.exit_code)


@app.command("list")
def list_adapters(*, as_json: JsonOption = False) -> None:
    """List the workspace's adapters."""
    from ptefoundry.params import load_params
    from ptefoundry.workspace import find_workspace

    adapters = load_params(find_workspace(Path.cwd()).root).adapters
    if as_json:
        print_json(
            [
                {"name": name, "source": adapter.source, "digest": adapter.digest}
                for name, adapter in adapters.items()
            ]
        )
        return
    rows = [(name, one.source, (one.digest or "not pinned")[:12]) for name, one in adapters.items()]
    if rows:
        print_table(("adapter", "source", "sha256"), rows)
    else:
        print("no adapters; add one with `ptefoundry adapter add NAME SOURCE`")


@app.command("remove")
def remove(name: NameArgument) -> None:
    """Take an adapter out of params.yaml.

    What was built for it stays until the next build.
    """
    from ptefoundry.graph import sync_graph
    from ptefoundry.workspace import find_workspace

    from .params_file import remove_adapter

    root = find_workspace(Path.cwd()).root
    remove_adapter(root, name)
    sync_graph(root)
    print(f"removed {name}; `ptefoundry build` removes what was built for it")
