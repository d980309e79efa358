"""`ptefoundry template`: listing, sharing and verifying compiled program templates."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptefoundry.errors import ArtifactError, ConfigError, TrustError

from .output import JsonOption, print_json, print_note, print_table
from .registry_access import EndpointOption, open_access

if TYPE_CHECKING:
    from ptefoundry.lowering.store import TemplateStore
    from ptefoundry.registry.templates import RegistryTemplates

    from .template_list import NeededTemplates, Places, TemplateRow

_ADDRESS = "(?:file|s3|https?):"
"""What a registry's address begins with."""

app = typer.Typer(
    name="template",
    help="List, share and verify program templates, which adapters are linked into.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("ls")
def list_templates(
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="[FOLDER|REGISTRY]",
            help="List what is kept there instead, as `push` wrote it.",
        ),
    ] = None,
    *,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the templates that the workspace needs, who needs them and where they are.

    Templates of other options, signatures or toolchains are listed as needed by none.
    """
    from .template_list import list_rows

    rows = list_rows(_needed(optional=place is not None), _places(place, endpoint_url))
    if as_json:
        print_json([row.to_dict() for row in rows])
        return
    absent = "nowhere, will be compiled" if place is None else "not there"
    print_table(
        ("template", "needed by", "found in", "> bytes"),
        (
            (
                row.key[:16] if row.key else "",
                ", ".join(row.needed_by) or "none",
                row.found_in or _known_after(row) or absent,
                f"{row.bytes:,}" if row.bytes else "",
            )
            for row in rows
        ),
    )


def _needed(*, optional: bool = False) -> "NeededTemplates":
    """What this workspace needs, compiled by this installation; nothing outside of one."""
    from ptefoundry.toolchain import describe_section
    from ptefoundry.workspace import find_workspace

    from .template_list import NeededTemplates, needed_templates

    try:
        workspace = find_workspace(Path.cwd())
    except ConfigError:
        if not optional:
            raise
        return NeededTemplates({}, {})
    return needed_templates(workspace, describe_section("compile"))


def _places(place: str | None, endpoint_url: str | None) -> "Places":
    from ptefoundry.workspace import find_workspace

    from .template_list import kept_templates

    if place is None:
        return kept_templates(find_workspace(Path.cwd()))
    return {key: (place, size) for key, size in _open(place, endpoint_url).sizes().items()}


def _known_after(row: "TemplateRow") -> str:
    return f"known after {', '.join(row.known_after)}" if row.known_after else ""


@app.command("push")
def push(
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="[FOLDER|REGISTRY]",
            help="Where to; the workspace's own `templates`, to commit, if left out.",
        ),
    ] = None,
    *,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the templates that the workspace was built with to a folder or registry."""
    from ptefoundry.lowering.store import workspace_stores
    from ptefoundry.lowering.template import load_template
    from ptefoundry.workspace import find_workspace

    from .template_list import built_templates

    workspace = find_workspace(Path.cwd())
    built = built_templates(workspace)
    store = _open(place, endpoint_url) if place else workspace_stores(workspace.root)[0]
    rows = list[dict[str, Any]]()
    for folder in built:
        template = load_template(folder)
        kept = str(store.add(template))
        rows.append({"name": folder.name, "key": template.map.recipe.key, "kept_in": kept})
        if not as_json:
            print(f"{folder.name}: {kept}")
    if as_json:
        print_json(rows)


@app.command("pull")
def pull(
    place: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|REGISTRY", help="A folder or registry that `push` wrote to."
        ),
    ],
    *,
    unsigned: Annotated[
        bool,
        typer.Option(
            "--unsigned",
            help="Take templates, which nobody signs, of a registry though a trust policy names "
            "keys.",
        ),
    ] = False,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the templates that the workspace needs into its own `templates`."""
    from ptefoundry.lowering.store import workspace_stores
    from ptefoundry.workspace import find_workspace

    needed = _needed()
    _note_unknown(needed)
    store = _open(place, endpoint_url, unsigned=unsigned)
    own = workspace_stores(find_workspace(Path.cwd()).root)[0]
    found = {key: template for key in needed.variants if (template := store.find(key))}
    if not found:
        raise ArtifactError(
            f"{place}: expected templates of this workspace, found none of "
            f"{', '.join(key[:16] for key in needed.variants) or 'those that are known'}; they are "
            "of other options, adapters or another toolchain: `ptefoundry build` compiles them"
        )
    rows = list[dict[str, Any]]()
    for key, names in needed.variants.items():
        kept = str(own.add(found[key])) if key in found else None
        rows.append({"key": key, "needed_by": list(names), "kept_in": kept})
        if kept is None:
            print_note(
                f"{', '.join(names)}: {place} has no template {key[:16]}; `ptefoundry build` "
                "compiles it"
            )
        elif not as_json:
            print(f"{', '.join(names)}: {kept}")
    if as_json:
        print_json(rows)


def _note_unknown(needed: "NeededTemplates") -> None:
    for name, stages in needed.unknown.items():
        print_note(
            f"{name}: its template is known after {', '.join(stages)}; run "
            f"`ptefoundry build --only {' --only '.join(stages)}` and pull again"
        )


def _open(
    place: str, endpoint_url: str | None, *, unsigned: bool = True
) -> "TemplateStore | RegistryTemplates":
    """The templates of a registry's address, or of a folder.

    Raises:
        TrustError: a policy names keys, and `unsigned` ones of a registry were not asked for.
    """
    if re.match(_ADDRESS, place):
        from ptefoundry.registry.templates import RegistryTemplates

        access = open_access(place, endpoint_url)
        if access.policy is not None and not unsigned:
            raise TrustError(
                f"{place}: expected what a trusted key has signed, as the trust policy demands, "
                "found templates, which are programs that nobody signs; if you trust everybody who "
                "can write there, say --unsigned, and `ptefoundry template verify` compiles them "
                "anew and compares; or let `ptefoundry build` compile them"
            )
        return RegistryTemplates(access.store)
    from ptefoundry.lowering.store import TemplateStore

    return TemplateStore(Path(place))


@app.command("verify")
def verify(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of templates; those of the last build if left out."),
    ] = None,
    *,
    as_json: JsonOption = False,
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
    rows = list[dict[str, Any]]()
    for path in paths:
        template = load_template(path)
        verify_template(template, TemplateStore(cache_folder() / "templates"))
        rows.append({"folder": str(path), "key": template.map.recipe.key, "same": True})
        if not as_json:
            print(f"{path}: a fresh compilation gives the same bytes")
    if as_json:
        print_json(rows)
