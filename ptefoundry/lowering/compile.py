"""Compiling program templates: from a model's shape to a program and its map."""

import gc
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from ptefoundry.base.config import ModelConfig
from ptefoundry.digest import hash_bytes
from ptefoundry.errors import BuildError
from ptefoundry.files import scratch_folder
from ptefoundry.lowering.eos import PLACEHOLDERS, find_places
from ptefoundry.lowering.flat_tensor import DataKey, lay_out
from ptefoundry.lowering.matching import match_files
from ptefoundry.lowering.placeholders import placeholder_model
from ptefoundry.lowering.ptd import read_ptd
from ptefoundry.lowering.pte import read_pte
from ptefoundry.lowering.template import (
    FORMAT_VERSION,
    Recipe,
    Template,
    TemplateMap,
    architecture_of,
    save_template,
    stored_ranges,
)
from ptefoundry.lowering.xnnpack import compile_program
from ptefoundry.params import XnnpackParams


def make_recipe(
    config: ModelConfig,
    params: XnnpackParams,
    signature: Mapping[str, int],
    toolchain: str,
) -> Recipe:
    """What a template is compiled from.

    Args:
        config: shape of the base.
        params: the backend's options; defaults are filled in.
        signature: rank by canonical path of each adapted linear; empty for the base.
        toolchain: digest of what compiles.
    """
    options = asdict(params) | {"prefill_length": params.prefill, "head": params.head_form}
    # Tells which signatures there are, not what is made of one.
    del options["templates"]
    return Recipe(
        architecture=architecture_of(config),
        options={**options, "backend": "xnnpack"},
        signature=dict(sorted(signature.items())),
        toolchain=toolchain,
    )


def compile_template(recipe: Recipe, into: Path) -> None:
    """Compile a template to the folder `into`; takes seconds per layer.

    Raises:
        BuildError: the compiled files do not hold what went into them.
    """
    options = {name: value for name, value in recipe.options.items() if name != "backend"}
    params = XnnpackParams(**options)
    config = ModelConfig.from_dict({**recipe.architecture, "max_context": params.context_length})
    placeholders = placeholder_model(config, recipe.signature, params)
    with scratch_folder(into) as folder:
        program, foundation = folder / "program.pte", folder / "foundation.ptd"
        compiled = compile_program(placeholders.model, config, params, PLACEHOLDERS)
        compiled.write_program(program)
        compiled.write_foundation(foundation)
        # Cycles of the graph hold all constants, and a process may compile several templates.
        del compiled
        gc.collect()
        parsed = read_pte(program)
        matched = match_files(placeholders, parsed, read_ptd(foundation))
        eos_ids_at = find_places(parsed)
        _check_layout(foundation)
        data = program.read_bytes()
    stored = b"".join(data[begin:end] for begin, end in stored_ranges(matched.slots, len(data)))
    content = TemplateMap(
        format_version=FORMAT_VERSION,
        recipe=recipe,
        program_size=len(data),
        program_sha256=hash_bytes(stored),
        fixed_sha256=hash_bytes(matched.fixed),
        slots=matched.slots,
        foundation=matched.entries,
        eos_ids_at=eos_ids_at,
    )
    save_template(Template(str(into), content, stored, matched.fixed), into)


def _check_layout(path: Path) -> None:
    """Check that a foundation can be laid out again as the exporter did it."""
    foundation = read_ptd(path)
    keys = [DataKey(entry.key, entry.segment, entry.layout) for entry in foundation.entries]
    sizes = {entry.segment: entry.size for entry in foundation.entries}
    layout = lay_out(keys, (sizes[number] for number in sorted(sizes)))
    with path.open("rb") as file:
        if file.read(len(layout.head)) != layout.head:
            raise BuildError(
                f"{path.name}: the exporter lays data files out in another way than expected, so "
                "that foundations cannot be written; use the version of executorch in "
                "requirements.lock"
            )
