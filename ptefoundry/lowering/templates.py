"""The templates that a workspace's programs are linked from."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ptefoundry.base.config import load_config
from ptefoundry.files import assembled_folder
from ptefoundry.lowering.compile import make_recipe
from ptefoundry.lowering.store import TemplateStore, obtain_template
from ptefoundry.lowering.template import Recipe, save_template, template_name
from ptefoundry.params import XnnpackParams


def list_recipes(
    base: Path, signatures: Iterable[Mapping[str, int]], params: XnnpackParams, toolchain: str
) -> list[Recipe]:
    """Recipes of the templates for a base's own program and for adapters, in this order.

    Args:
        base: canonical folder; only `config.json` is read.
        signatures: rank by canonical path of each adapted linear, one for each template.
        params: the backend's options.
        toolchain: digest of what compiles.

    Raises:
        CheckpointError: the base is not converted.
    """
    config = load_config(base / "config.json")
    return [make_recipe(config, params, signature, toolchain) for signature in ({}, *signatures)]


def build_templates(recipes: Iterable[Recipe], stores: Sequence[TemplateStore], into: Path) -> None:
    """Put templates into a folder, each under a name after its signature.

    Args:
        recipes: what `list_recipes` gave.
        stores: where to look before compiling; what was compiled goes into the last.
        into: the folder; replaced at once.

    Raises:
        ArtifactError: a store has a damaged template.
        BuildError: a template cannot be compiled.
    """
    with assembled_folder(into) as folder:
        for recipe in recipes:
            template = obtain_template(recipe, stores)
            save_template(template, folder / template_name(recipe.signature))
