"""What an adapter costs in a CoreML program, by the program that was built last."""

import json
from pathlib import Path
from typing import Any

from ptefoundry.coreml.params import CoremlParams
from ptefoundry.errors import ArtifactError
from ptefoundry.params import Params
from ptefoundry.report import format_size
from ptefoundry.workspace import BASE_VARIANT, Workspace

from .targets import COMPILE_COREML, COREML, coreml_methods

_BYTES = {"fp16": 2, "fp32": 4}


def program_bytes(workspace: Workspace) -> int | None:
    """Size of the program of the last build; None: there is none."""
    built = _last_build(workspace)
    return None if built is None else int(built["program_bytes"])


def adapter_cost(workspace: Workspace, params: Params, elements: int) -> str:
    """What a new adapter means for the program, as text; empty without backend `coreml`.

    Args:
        workspace: where it was added.
        params: with it.
        elements: numbers of its matrices.
    """
    options = params.backends.coreml
    if options is None:
        return ""
    count = len(coreml_methods(params))
    text = f"; {COMPILE_COREML} compiles its one program with {count} methods anew (minutes each)"
    built = _last_build(workspace)
    if built is None:
        return f"{text}, of which apps receive the whole"
    return f"{text}{_growth(options, built, elements)}"


def _growth(options: CoremlParams, built: dict[str, Any], elements: int) -> str:
    matrices, methods = elements * _BYTES[options.dtype], 2 if options.multifunction else 1
    # An adapter's text is that of the base and a little more.
    adapters = [one for one in built["variants"] if one["adapter"] != BASE_VARIANT]
    variant_text = max(one["text_bytes"] for one in adapters or built["variants"])
    return (
        f", about {format_size(matrices + variant_text)} larger: {format_size(matrices)} of "
        f"matrices, {format_size(variant_text // methods)} of text for each of {methods} methods; "
        f"apps receive the whole program again, {format_size(built['program_bytes'])} so far"
    )


def _last_build(workspace: Workspace) -> dict[str, Any] | None:
    from ptefoundry.coreml.build import SHARING_FILE

    path: Path = workspace.artifacts / "compile" / COREML / SHARING_FILE
    if not path.is_file():
        return None
    try:
        built: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise ArtifactError(
            f"{path}: expected what a build wrote ({error}); delete the file and build again"
        ) from error
    return built
