"""Makes `python -m ptefoundry.stages.<name>` run the stand-in beside this file.

Python imports a module of this name at its start if it is on PYTHONPATH. So the
real graph runs in DVC, with stages that take no time and do what a test wants.
"""

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

_PREFIX = "ptefoundry.stages."
_STAND_IN = Path(__file__).with_name("stand_in.py")


class _Finder:
    """Finds the stand-in under the name of every stage."""

    @staticmethod
    def find_spec(
        name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        # Code that only asks what the stages are made of shall find the real ones.
        if not name.startswith(_PREFIX) or "-m" not in sys.orig_argv:
            return None
        return importlib.util.spec_from_file_location(name, _STAND_IN)


sys.meta_path.insert(0, _Finder)  # type: ignore[arg-type]
