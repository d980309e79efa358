"""Refuses an image whose torch is not the build for CPUs; the Dockerfile runs it.

    python torch_build.py [--imported]

A plain index may give the build for CUDA, whose libraries are no part of the image. Without the
option torch's version file is read: what torch imports may not be installed yet.
"""

import importlib.util
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_DEVICES = ("cuda", "rocm", "hip", "xpu")
_NEXT_STEP = (
    "fill wheelhouse/ with the build for CPUs (`make wheelhouse`), or name an index that has it "
    "in PIP_EXTRA_INDEX_URL; see docs/container.md"
)


def main() -> None:
    """End with a message if torch is another build, or cannot be imported."""
    if problem := _problem_of_import() if "--imported" in sys.argv else _problem_of_version():
        sys.exit(f"expected torch's build for CPUs, found {problem}; {_NEXT_STEP}")


def describe_other_build(version: Mapping[str, Any]) -> str | None:
    """What a build of torch is for, if not for CPUs alone.

    Args:
        version: the names in torch/version.py.
    """
    for device in _DEVICES:
        if found := version.get(device):
            return f"{version['__version__']} for {device} {found}"
    return None


def _problem_of_version() -> str | None:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return "no torch"
    return describe_other_build(runpy.run_path(str(Path(spec.origin).with_name("version.py"))))


def _problem_of_import() -> str | None:
    done = subprocess.run(
        [sys.executable, "-c", "import torch"], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return None
    *_, reason = done.stderr.splitlines() or ("no reason",)
    return f"one that cannot be imported ({reason})"


if __name__ == "__main__":
    main()
