"""Which templates a workspace needs, has built and can take from its stores."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.adapter.outline import read_signature
from ptefoundry.adapter.signatures import merge_signatures
from ptefoundry.digest import hash_json
from ptefoundry.errors import AdapterError, CheckpointError, ConfigError
from ptefoundry.lowering.store import workspace_stores
from ptefoundry.lowering.template import MAP_FILE
from ptefoundry.lowering.templates import list_recipes
from ptefoundry.params import Params, load_params
from ptefoundry.workspace import BASE_VARIANT, Workspace

_LOCAL = "file:"
_CONVERT_BASE, _CONVERT_ADAPTER = "convert-base", "convert-adapter@"

Places = Mapping[str, tuple[str, int]]
"""Key of a template -> where it is kept, and its bytes."""


@dataclass(frozen=True, kw_only=True)
class TemplateRow:
    """A template that is needed or kept."""

    key: str | None
    """None as long as it is not known."""
    needed_by: tuple[str, ...]
    """Variants: `base` and adapters; empty for templates of other workspaces or options."""
    found_in: str | None
    """Folder of the store that a build takes it from; None: a build compiles it."""
    bytes: int
    known_after: tuple[str, ...] = ()
    """The stages after which the key is known, where it is not yet."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class NeededTemplates:
    """What the variants of a workspace are linked from, as far as it is known."""

    variants: Mapping[str, tuple[str, ...]]
    """Key -> variants that are linked from that template."""
    unknown: Mapping[str, tuple[str, ...]]
    """Variant -> the stages after which its template is known."""


def list_rows(needed: NeededTemplates, places: Places) -> list[TemplateRow]:
    """Templates that are needed, then all others that are kept."""
    rows = []
    for key in (*needed.variants, *sorted(places.keys() - needed.variants.keys())):
        folder, size = places.get(key, (None, 0))
        names = needed.variants.get(key, ())
        rows.append(TemplateRow(key=key, needed_by=names, found_in=folder, bytes=size))
    unknown: dict[tuple[str, ...], tuple[str, ...]] = {}
    for name, stages in needed.unknown.items():
        unknown[stages] = (*unknown.get(stages, ()), name)
    return rows + [
        TemplateRow(key=None, needed_by=names, found_in=None, bytes=0, known_after=stages)
        for stages, names in unknown.items()
    ]


def kept_templates(workspace: Workspace) -> Places:
    """Where a build finds templates."""
    places: dict[str, tuple[str, int]] = {}
    for store in reversed(workspace_stores(workspace.root)):
        places |= {key: (str(store.folder), size) for key, size in store.sizes().items()}
    return places


def needed_templates(workspace: Workspace, compiler: Mapping[str, Any]) -> NeededTemplates:
    """What the variants of a workspace are linked from, before anything is built as after it.

    Args:
        workspace: whose base was converted; of adapters the files are enough.
        compiler: what `describe_section("compile")` says where templates are compiled.

    Raises:
        ConfigError: params.yaml is wrong.
    """
    params = load_params(workspace.root)
    xnnpack = params.backends.xnnpack
    if xnnpack is None:
        return NeededTemplates({}, {})
    known, unknown = _find_signatures(workspace, params, shared=xnnpack.templates == "shared")
    try:
        recipes = list_recipes(
            workspace.canonical_base,
            known.values(),
            xnnpack,
            hash_json(dict(compiler)),
        )
    except CheckpointError:
        names = (BASE_VARIANT, *sorted(params.adapters))
        return NeededTemplates({}, {**dict.fromkeys(names, (_CONVERT_BASE,)), **unknown})
    variants: dict[str, tuple[str, ...]] = {}
    for name, recipe in zip((BASE_VARIANT, *known), recipes, strict=True):
        variants[recipe.key] = (*variants.get(recipe.key, ()), name)
    return NeededTemplates(variants, unknown)


def _find_signatures(
    workspace: Workspace, params: Params, *, shared: bool
) -> tuple[dict[str, Mapping[str, int]], dict[str, tuple[str, ...]]]:
    """By adapter: the signature that its program is compiled for, or the stages that tell it."""
    known: dict[str, Mapping[str, int]] = {}
    unknown: dict[str, tuple[str, ...]] = {}
    for name, adapter in sorted(params.adapters.items()):
        signature = _find_signature(workspace, name, adapter.source)
        if signature is None:
            unknown[name] = (f"{_CONVERT_ADAPTER}{name}",)
        else:
            known[name] = signature
    if not shared:
        return known, unknown
    if unknown:
        # One more adapter may need more room.
        stages = tuple(stage for own in unknown.values() for stage in own)
        return {}, dict.fromkeys(sorted(params.adapters), stages)
    return dict.fromkeys(known, merge_signatures(known.values())), {}


def _find_signature(workspace: Workspace, name: str, source: str) -> Mapping[str, int] | None:
    """Rank by canonical path of each adapted linear: of a local adapter as its files are now."""
    if source.startswith(_LOCAL):
        try:
            return read_signature(workspace.root / source.removeprefix(_LOCAL))
        except AdapterError:
            # Converting will tell what is wrong, unless it was converted elsewhere.
            pass
    try:
        return load_adapter(workspace.canonical_adapter(name)).modules
    except AdapterError:
        return None


def built_templates(workspace: Workspace) -> list[Path]:
    """Folders of the templates of the last build.

    Raises:
        ConfigError: nothing is built.
    """
    found = map_files(workspace)
    if not found:
        raise ConfigError(
            f"{workspace.artifacts}: expected built templates, found none; run `ptefoundry build`"
        )
    return [path.parent for path in found]


def map_files(workspace: Workspace) -> list[Path]:
    """The maps of the templates of the last build, if any."""
    return sorted(workspace.artifacts.glob(f"compile/*/*/{MAP_FILE}"))
