"""Where the installed ExecuTorch wheel is, found without importing it."""

import importlib.util
from pathlib import Path

from ptefoundry.errors import MissingToolError


def executorch_folder() -> Path:
    """The package's folder, with the C++ libraries, schemas and programs of the wheel.

    Raises:
        MissingToolError: it is not installed.
    """
    spec = importlib.util.find_spec("executorch")
    if spec is None or not spec.submodule_search_locations:
        raise MissingToolError(
            "expected the Python package executorch, found none; "
            "install it with `pip install executorch`"
        )
    return Path(next(iter(spec.submodule_search_locations)))
