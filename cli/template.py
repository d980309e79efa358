"""`ptefoundry template`: listing, sharing and verifying compiled program templates."""

from pathlib import Path
from typing import Annotated

import typer

from ptefoundry.errors import ArtifactError, ConfigError

from .output import JsonOption, print_json, print_table

app = typer.Typer(
    name="template",
    help="List, share and verify program templates, which adapters are linked into.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("ls")
def list_templates(*, as_json: JsonOption = False) -> None:
    """List the templates that the workspace needs, who needs them and where they are.

    Templates of other options, signatures or toolchains are listed as needed by none.
    """
    from ptefoundry.workspace import find_workspace

    from .template_list import list_rows

    rows = list_rows(find_workspace(Path.cwd()))
    if as_json:
        print_json([row.to_dict() for row in rows])
        return
    print_table(
        ("template", "needed by", "found in", "> bytes"),
        (
            (
                row.key[:16],
                ", ".join(row.needed_by) or "none",
                row.found_in or "nowhere, will be compiled",
                f"{row.bytes:,}" if row.bytes else "",
            )
            for row in rows
        ),
    )


@app.command("push")
def push(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Where to; the workspace's own `templates`, to commit, if left out."),
    ] = None,
) -> None:
    """Copy the templates that the workspace was built with to a folder."""
    from ptefoundry.lowering.store import TemplateStore, workspace_stores
    from ptefoundry.lowering.template import load_template
    from ptefoundry.workspace import find_workspace

    from .template_list import built_templates

    workspace = find_workspace(Path.cwd())
    store = TemplateStore(folder) if folder else workspace_stores(workspace.root)[0]
    for built in built_templates(workspace):
        print(f"{built.name}: {store.add(load_template(built))}")


@app.command("pull")
def pull(
    folder: Annotated[Path, typer.Argument(help="A folder that `push` wrote to.")],
) -> None:
    """Copy the templates that the workspace needs from a folder into its own `templates`."""
    from ptefoundry.lowering.store import TemplateStore, workspace_stores
    from ptefoundry.workspace import find_workspace

    from .template_list import needed_templates

    workspace = find_workspace(Path.cwd())
    store, own = TemplateStore(folder), workspace_stores(workspace.root)[0]
    needed = needed_templates(workspace)
    found = {key: template for key in needed if (template := store.find(key))}
    if not found:
        raise ArtifactError(
            f"{folder}: expected templates of this workspace, found none of "
            f"{', '.join(key[:16] for key in needed)}; they are of other options, adapters or "
            "another toolchain: `ptefoundry build` compiles them"
        )
    for key, template in found.items():
        print(f"{', '.join(needed[key])}: {own.add(template)}")


@app.command("verify")
def verify(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of templates; those of the last build if left out."),
    ] = None,
) -> None:
    """Compile templates anew and compare the bytes. Takes minutes for each."""
    from ptefoundry.lowering.store import TemplateStore, verify_template
    from ptefoundry.lowering.template import MAP_FILE, load_template
    from ptefoundry.workspace import cache_folder, find_workspace

    from .template_list import built_templates

    if folder is None:
        paths = built_templates(find_workspace(Path.cwd()))
    else:
        paths = [path.parent for path in sorted(folder.glob(f"*/{MAP_FILE}"))]
    if not paths:
        raise ConfigError(f"{folder}: expected a folder of templates, found none in it")
    for path in paths:
        verify_template(load_template(path), TemplateStore(cache_folder() / "templates"))
        print(f"{path}: a fresh compilation gives the same bytes")
