"""Proving that a bundle's linked programs are what an export in full would have given."""

import filecmp
import tempfile
from pathlib import Path

from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.bundle.manifest import Variant, load_manifest
from ptefoundry.errors import ConfigError, VerificationError
from ptefoundry.lowering.build import (
    BASE_PROGRAM,
    build_adapter,
    build_foundation,
    shared_template,
)
from ptefoundry.lowering.compile import compile_template
from ptefoundry.lowering.departures import find_departure
from ptefoundry.lowering.foundation import FOUNDATION_FILE
from ptefoundry.lowering.full_export import export_in_full
from ptefoundry.lowering.template import Recipe, load_template, template_name
from ptefoundry.params import XnnpackParams
from ptefoundry.workspace import BASE_VARIANT, Workspace

_LINKED = "xnnpack"
"""The backend whose programs are linked."""


def find_variants(bundle: Path, adapters: tuple[str, ...]) -> list[Variant]:
    """The linked variants of a bundle, or those of some adapters (`base` for the base alone).

    Raises:
        ArtifactError: the bundle has no manifest.
        ConfigError: it has no such variant.
    """
    variants = [v for v in load_manifest(bundle).variants if v.backend == _LINKED]
    known = {variant.adapter for variant in variants}
    if unknown := [adapter for adapter in adapters if adapter not in known]:
        raise ConfigError(
            f"--adapter: expected one of {', '.join(sorted(known))}, found {unknown[0]!r}"
        )
    return [variant for variant in variants if not adapters or variant.adapter in adapters]


def check_export(workspace: Workspace, params: XnnpackParams, variant: Variant) -> str | None:
    """Make a variant of the workspace's bundle anew and compare its files byte by byte.

    It is exported in full, and compared with its foundation. Where an export has other bytes
    for what computes the same, its template is compiled anew instead, and linked anew.

    Takes seconds per layer, and the memory of the model several times over.

    Returns:
        Why it was linked and not exported; None if it was exported.

    Raises:
        VerificationError: the program or the foundation differs.
    """
    adapter = None
    if variant.adapter != BASE_VARIANT:
        adapter = workspace.canonical_adapter(variant.adapter)
    templates = workspace.artifacts / "compile" / _LINKED
    modules = load_adapter(adapter).modules if adapter else {}
    shared = adapter is not None and params.templates == "shared"
    folder = shared_template(templates) if shared else templates / template_name(modules)
    if shared and modules != load_template(folder).map.recipe.signature:
        departure: str | None = "it was filled up with zeros, and an export stores equal ones once"
    else:
        departure = find_departure(workspace.artifacts / "foundation" / _LINKED, adapter)
    with tempfile.TemporaryDirectory(dir=workspace.artifacts, prefix=".", suffix=".tmp") as name:
        if departure:
            recipe = load_template(folder).map.recipe
            _compare_linked(workspace, variant, adapter, recipe, Path(name))
        else:
            compiled = export_in_full(workspace.canonical_base, adapter, params)
            compiled.write_program(Path(name, "program"))
            compiled.write_foundation(Path(name, "foundation"))
            (foundation,) = variant.data
            _compare(workspace, variant.program, Path(name, "program"))
            _compare(workspace, foundation, Path(name, "foundation"))
    return departure


def _compare_linked(
    workspace: Workspace, variant: Variant, adapter: Path | None, recipe: Recipe, scratch: Path
) -> None:
    templates, made = scratch / "templates", scratch / "foundation"
    compile_template(recipe, templates / template_name(recipe.signature))
    if adapter is None:
        build_foundation(workspace.canonical_base, templates, made)
        _compare(workspace, variant.program, made / BASE_PROGRAM)
        (data,) = variant.data
        _compare(workspace, data, made / FOUNDATION_FILE)
    else:
        foundation, program = workspace.artifacts / "foundation" / _LINKED, scratch / "program"
        shared = load_adapter(adapter).modules != recipe.signature
        build_adapter(adapter, templates, foundation, program, shared=shared)
        _compare(workspace, variant.program, program)


def _compare(workspace: Workspace, name: str, anew: Path) -> None:
    built = workspace.bundle / name
    if not filecmp.cmp(built, anew, shallow=False):
        raise VerificationError(
            f"{built}: expected the {anew.stat().st_size} bytes that it has when it is made anew, "
            f"found {built.stat().st_size} others; if the bundle is of the present params.yaml "
            "and inputs (`ptefoundry plan`), please report it"
        )
