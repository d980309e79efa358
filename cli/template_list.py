"""Which templates a workspace needs, has built and can take from its stores."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.adapter.signatures import merge_signatures
from ptefoundry.digest import hash_json
from ptefoundry.errors import ConfigError
from ptefoundry.lowering.store import workspace_stores
from ptefoundry.lowering.template import MAP_FILE
from ptefoundry.lowering.templates import list_recipes
from ptefoundry.params import load_params
from ptefoundry.toolchain import describe_section
from ptefoundry.workspace import BASE_VARIANT, Workspace


@dataclass(frozen=True, kw_only=True)
class TemplateRow:
    """A template that is needed or kept."""

    key: str
    needed_by: tuple[str, ...]
    """Variants: `base` and adapters; empty for templates of other workspaces or options."""
    found_in: str | None
    """Folder of the store that a build takes it from; None: a build compiles it."""
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def list_rows(workspace: Workspace) -> list[TemplateRow]:
    """Templates that the workspace needs, then all others of its stores.

    Raises:
        CheckpointError: the base is not converted yet.
        AdapterError: an adapter is not converted yet.
    """
    needed = needed_templates(workspace)
    places: dict[str, tuple[str, int]] = {}
    for store in reversed(workspace_stores(workspace.root)):
        places |= {key: (str(store.folder), store.size(key)) for key in store.keys()}  # noqa: SIM118
    rows = []
    for key in (*needed, *sorted(places.keys() - needed.keys())):
        folder, size = places.get(key, (None, 0))
        rows.append(
            TemplateRow(key=key, needed_by=needed.get(key, ()), found_in=folder, bytes=size)
        )
    return rows


def needed_templates(workspace: Workspace) -> dict[str, tuple[str, ...]]:
    """Key -> variants that are linked from that template.

    Raises:
        CheckpointError: the base is not converted yet.
        AdapterError: an adapter is not converted yet.
    """
    params = load_params(workspace.root)
    adapters = {
        name: load_adapter(workspace.canonical_adapter(name)).modules
        for name in sorted(params.adapters)
    }
    if params.backends.xnnpack.templates == "shared":
        adapters = dict.fromkeys(adapters, merge_signatures(adapters.values()))
    recipes = list_recipes(
        workspace.canonical_base,
        adapters.values(),
        params.backends.xnnpack,
        hash_json(describe_section("compile")),
    )
    needed: dict[str, tuple[str, ...]] = {}
    for name, recipe in zip((BASE_VARIANT, *adapters), recipes, strict=True):
        needed[recipe.key] = (*needed.get(recipe.key, ()), name)
    return needed


def built_templates(workspace: Workspace) -> list[Path]:
    """Folders of the templates of the last build.

    Raises:
        ConfigError: nothing is built.
    """
    found = sorted(workspace.artifacts.glob(f"compile/*/*/{MAP_FILE}"))
    if not found:
        raise ConfigError(
            f"{workspace.artifacts}: expected built templates, found none; run `ptefoundry build`"
        )
    return [path.parent for path in found]
