"""Templates that a build takes from the workspace's registry instead of compiling them."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ptefoundry.errors import InputError, StoreError
from ptefoundry.lowering.store import workspace_stores
from ptefoundry.lowering.template import load_template
from ptefoundry.params import Params
from ptefoundry.toolchain import without_image
from ptefoundry.workspace import Workspace

from .output import print_note
from .registry_access import open_access
from .registry_arguments import REGISTRY_VARIABLE
from .template_list import NeededTemplates, kept_templates, map_files, needed_templates


def template_registry(params: Params) -> str | None:
    """Address of the registry that a build may take templates from; None if none is named."""
    return os.environ.get(REGISTRY_VARIABLE) or params.registry.url


def stages_before_templates(workspace: Workspace, toolchain: Mapping[str, Any]) -> Sequence[str]:
    """Stages that must run before it is known which templates are needed."""
    unknown = _needed(workspace, toolchain).unknown.values()
    return tuple(dict.fromkeys(stage for stages in unknown for stage in stages))


def take_templates(workspace: Workspace, toolchain: Mapping[str, Any], address: str) -> None:
    """Copy the templates that a build would compile from a registry to the user's cache.

    What cannot be taken is told, and left to be compiled: a build needs no registry.

    Raises:
        ConfigError: the address or the trust policy is malformed.
    """
    needed = _needed(workspace, toolchain).variants
    missing = sorted(needed.keys() - kept_templates(workspace).keys() - _built_keys(workspace))
    if not missing:
        return
    try:
        _take(workspace, {key: needed[key] for key in missing}, address)
    except (StoreError, InputError) as error:
        print_note(f"warning: no templates are taken from the registry: {error}")


def _needed(workspace: Workspace, toolchain: Mapping[str, Any]) -> NeededTemplates:
    return needed_templates(workspace, without_image(toolchain["compile"]))


def _built_keys(workspace: Workspace) -> set[str]:
    """Keys of the templates of the last build; a damaged one is made anew."""
    try:
        return {load_template(path.parent).map.recipe.key for path in map_files(workspace)}
    except InputError:
        return set()


def _take(workspace: Workspace, missing: Mapping[str, tuple[str, ...]], address: str) -> None:
    from ptefoundry.registry.templates import RegistryTemplates

    access = open_access(address, None)
    if access.policy is not None:
        print_note(
            "warning: no templates are taken from the registry, as the trust policy names keys "
            "and nobody signs templates; `ptefoundry template pull --unsigned` takes them"
        )
        return
    _, cache = workspace_stores(workspace.root)
    for key, names in missing.items():
        template = RegistryTemplates(access.store).find(key)
        if template is not None:
            cache.add(template)
            print_note(f"{', '.join(names)}: template {key[:16]} comes from {access.store.url}")
