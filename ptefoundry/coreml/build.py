"""What stage `compile-coreml` makes of canonical folders: the program and who uses what of it."""

from collections.abc import Mapping
from pathlib import Path

from ptefoundry.coreml.adapted import needed_bytes
from ptefoundry.coreml.packages import check_packages
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.coreml.program import write_program
from ptefoundry.coreml.reading import read_program
from ptefoundry.coreml.sharing import Sharing, check_sharing
from ptefoundry.coreml.static_model import torch_dtype
from ptefoundry.files import assembled_folder, scratch_folder, write_json

PROGRAM_FILE = "program.pte"
SHARING_FILE = "sharing.json"


def build_program(
    base: Path, adapters: Mapping[str, Path], params: CoremlParams, into: Path
) -> Sharing:
    """Write the program of a base and its adapters, and check it by reading it back.

    Args:
        base: canonical folder.
        adapters: canonical folders by name.
        params: the backend's options.
        into: folder for `program.pte` and `sharing.json`; replaced at once.

    Raises:
        ConfigError: names or options do not fit.
        CheckpointError: static attention does not support the base.
        AdapterError: an adapter is damaged or beyond the dtype.
        MissingToolError: coremltools or ExecuTorch is not installed.
        BuildError: methods cannot share their weights.
        VerificationError: they do not share them.
    """
    # Before minutes are spent on what comes before they are needed.
    check_packages("executorch", "coremltools", "torchao")
    with assembled_folder(into) as folder:
        program = folder / PROGRAM_FILE
        with scratch_folder(into.with_name(f"{into.name}-parts")) as scratch:
            write_program(base, adapters, params, program, scratch)
        dtype = torch_dtype(params)
        needed = {name: needed_bytes(adapter, dtype) for name, adapter in adapters.items()}
        sharing = check_sharing(read_program(program), needed)
        write_json(folder / SHARING_FILE, sharing.to_dict())
    return sharing
