"""Building a backend's files from canonical folders, and reading each back.

`build_base` makes `base.pte` and `foundation.ptd`; `build_adapter` makes one
adapter's program over that foundation. Nothing is handed on unread.
"""

import json
from pathlib import Path

from ptefoundry.base.config import load_config
from ptefoundry.files import assembled_folder, scratch_folder
from ptefoundry.lowering.readback import check_program, check_same_foundation
from ptefoundry.lowering.xnnpack import Compiled, compile_program
from ptefoundry.params import XnnpackParams

BASE_PROGRAM = "base.pte"
FOUNDATION_FILE = "foundation.ptd"


def build_base(base: Path, params: XnnpackParams, into: Path) -> None:
    """Compile a canonical base to `into/base.pte` and `into/foundation.ptd`.

    Raises:
        VerificationError: what was written does not read back as it must.
    """
    compiled = _compile(base, None, params)
    with assembled_folder(into) as folder:
        compiled.write_program(folder / BASE_PROGRAM)
        compiled.write_foundation(folder / FOUNDATION_FILE)
        check_program(folder / BASE_PROGRAM, folder / FOUNDATION_FILE)


def build_adapter(
    base: Path, adapter: Path, params: XnnpackParams, compiled_base: Path, into: Path
) -> None:
    """Make the program of a canonical adapter, `into`, over a built foundation.

    Args:
        base: canonical base.
        adapter: canonical adapter.
        params: the options that `compiled_base` was built with.
        compiled_base: folder that `build_base` wrote.
        into: the `.pte` to write.

    Raises:
        VerificationError: its foundation is another than that of the base, or
            the program does not read back as it must.
    """
    compiled = _compile(base, adapter, params)
    foundation = compiled_base / FOUNDATION_FILE
    with scratch_folder(into) as folder:
        compiled.write_program(folder / into.name)
        compiled.write_foundation(folder / FOUNDATION_FILE)
        check_same_foundation(folder / FOUNDATION_FILE, foundation)
        check_program(folder / into.name, foundation)
        (folder / into.name).replace(into)


def _compile(base: Path, adapter: Path | None, params: XnnpackParams) -> Compiled:
    from ptefoundry.model.eager import load_model

    model = load_model(
        base, adapter, context=params.context_length, embedding=params.embedding_scheme
    )
    chat = json.loads((base / "tokenizer" / "chat.json").read_text())
    config = load_config(base / "config.json")
    return compile_program(model, config, params, chat["eos_token_ids"])
