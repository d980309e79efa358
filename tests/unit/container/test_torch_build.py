import subprocess
import sys
from pathlib import Path

import pytest

from ptefoundry.container import torch_build

CPU = "__version__ = '2.13.0+cpu'\ncuda = None\nhip = None\n"


def _check(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """As in an image that has nothing but what is in that folder."""
    return subprocess.run(
        [sys.executable, "-S", torch_build.__file__, *arguments],
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def _torch(folder: Path, *, version: str = CPU, code: str = "") -> None:
    (folder / "torch").mkdir()
    (folder / "torch" / "version.py").write_text(version)
    (folder / "torch" / "__init__.py").write_text(code)


def test_build_for_cpus_is_taken_without_importing_it(tmp_path: Path) -> None:
    _torch(tmp_path, code="raise ImportError('no sympy yet')")
    assert _check(tmp_path).returncode == 0


@pytest.mark.parametrize("device", ["cuda", "hip", "xpu"])
def test_another_build_is_refused_with_what_to_do(tmp_path: Path, device: str) -> None:
    _torch(tmp_path, version=f"__version__ = '2.13.0'\n{device} = '13.0'\n")
    done = _check(tmp_path)
    assert done.returncode == 1
    assert f"expected torch's build for CPUs, found 2.13.0 for {device} 13.0" in done.stderr
    assert "make wheelhouse" in done.stderr
    assert "PIP_EXTRA_INDEX_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_torch_that_is_missing_or_cannot_be_imported_is_told(tmp_path: Path) -> None:
    assert "found no torch" in _check(tmp_path).stderr
    _torch(tmp_path, code="raise ImportError('libcudart.so.13: cannot open')")
    done = _check(tmp_path, "--imported")
    assert done.returncode == 1
    assert "cannot be imported (ImportError: libcudart.so.13: cannot open)" in done.stderr
    (tmp_path / "torch" / "__init__.py").write_text("")
    assert _check(tmp_path, "--imported").returncode == 0
