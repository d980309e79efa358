"""Proving that a bundle's linked programs are what an export in full would have given."""

import filecmp
import tempfile
from pathlib import Path

from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.bundle.manifest import Variant, load_manifest
from ptefoundry.errors import ConfigError, VerificationError
from ptefoundry.lowering.build import build_adapter, shared_template
from ptefoundry.lowering.compile import compile_template
from ptefoundry.lowering.full_export import export_in_full
from ptefoundry.lowering.template import Recipe, load_template
from ptefoundry.params import Params
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


def check_export(workspace: Workspace, params: Params, variant: Variant) -> None:
    """Export a variant of the workspace's bundle in full and compare its files byte by byte.

    An export of an adapter that was filled up with zeros would store equal ones once. For
    such an adapter the template is compiled anew, and linked anew.

    Takes seconds per layer, and the memory of the model several times over.

    Raises:
        VerificationError: the program or the foundation differs.
    """
    adapter = None
    if variant.adapter != BASE_VARIANT:
        adapter = workspace.canonical_adapter(variant.adapter)
        if params.backends.xnnpack.templates == "shared":
            template = load_template(shared_template(workspace.artifacts / "compile" / _LINKED))
            if load_adapter(adapter).modules != template.map.recipe.signature:
                _check_padded(workspace, variant, adapter, template.map.recipe)
                return
    compiled = export_in_full(workspace.canonical_base, adapter, params.backends.xnnpack)
    with tempfile.TemporaryDirectory(dir=workspace.artifacts, prefix=".", suffix=".tmp") as name:
        exported = Path(name, "program"), Path(name, "foundation")
        compiled.write_program(exported[0])
        compiled.write_foundation(exported[1])
        (foundation,) = variant.data
        for linked, full in zip((variant.program, foundation), exported, strict=True):
            _compare(workspace.bundle / linked, full)


def _check_padded(workspace: Workspace, variant: Variant, adapter: Path, recipe: Recipe) -> None:
    foundation = workspace.artifacts / "foundation" / _LINKED
    with tempfile.TemporaryDirectory(dir=workspace.artifacts, prefix=".", suffix=".tmp") as name:
        compile_template(recipe, Path(name, "templates", "fresh"))
        program = Path(name, "program")
        build_adapter(adapter, Path(name, "templates"), foundation, program, shared=True)
        _compare(workspace.bundle / variant.program, program)


def _compare(linked: Path, full: Path) -> None:
    if not filecmp.cmp(linked, full, shallow=False):
        raise VerificationError(
            f"{linked}: expected the {full.stat().st_size} bytes of an export in full, found "
            f"{linked.stat().st_size} others; if the bundle is of the present params.yaml and "
            "inputs (`ptefoundry plan`), and no two matrices of the adapter are equal (these are "
            "stored once by an export, and per use by linking), please report it"
        )
