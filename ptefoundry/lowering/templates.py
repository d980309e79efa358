"""The templates that a workspace's programs are linked from."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ptefoundry.base.config import load_config
from ptefoundry.files import assembled_folder
from ptefoundry.lowering.compile import make_recipe
from ptefoundry.lowering.store import TemplateStore, obtain_template
from ptefoundry.lowering.template import save_template, template_name
from ptefoundry.params import XnnpackParams


def build_templates(
    base: Path,
    signatures: Iterable[Mapping[str, int]],
    params: XnnpackParams,
    stores: Sequence[TemplateStore],
    into: Path,
    *,
    toolchain: str,
) -> None:
    """Put the templates of a base's program and of its adapters' into a folder.

    Args:
        base: canonical folder; only `config.json` and `tokenizer/chat.json` are read.
        signatures: rank by canonical path of each adapted linear, one for each template.
        params: the backend's options.
        stores: where to look before compiling; what was compiled goes into the last.
        into: the folder; each template has a name after its signature.
        toolchain: digest of what compiles.

    Raises:
        ArtifactError: a store has a damaged template.
        BuildError: a template cannot be compiled.
    """
    config = load_config(base / "config.json")
    eos_ids = json.loads((base / "tokenizer" / "chat.json").read_text())["eos_token_ids"]
    with assembled_folder(into) as folder:
        for signature in ({}, *signatures):
            recipe = make_recipe(config, params, eos_ids, signature, toolchain)
            template = obtain_template(recipe, stores)
            save_template(template, folder / template_name(signature))
