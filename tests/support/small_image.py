"""Sources of an image that is built in seconds: the Dockerfile with few packages, or a text."""

import re
import shutil
import zipfile
from pathlib import Path

from ptefoundry.container.recipe import DOCKERFILE

_LOCKS = ("requirements-pip.lock", "requirements-torch.lock", "requirements-build.lock")
_PACKAGES = ("six", "packaging")
_TORCH = "torch-2.13.0+cpu"
_VERSION = "__version__ = '2.13.0+cpu'\ncuda = None\n"


def write_sources(folder: Path, dockerfile: str) -> Path:
    """Sources of an image with empty locks."""
    folder.mkdir()
    (folder / DOCKERFILE).write_text(dockerfile)
    for name in _LOCKS:
        (folder / name).write_text("")
    return folder


def small_sources(root: Path, folder: Path) -> Path:
    """The Dockerfile of the sources at `root` as it is, but for which packages and modules."""
    text, count = re.subn(
        r'^ARG MODULES="[^"]*"$',
        f'ARG MODULES="torch,{",".join(_PACKAGES)}"',
        (root / DOCKERFILE).read_text(),
        flags=re.MULTILINE,
    )
    assert count == 1
    write_sources(folder, text)
    for name in _LOCKS[:2]:
        shutil.copy(root / name, folder)
    entries = re.split(r"^(?=[a-z])", (root / _LOCKS[2]).read_text(), flags=re.MULTILINE)
    kept = [one for one in entries if one.partition("==")[0] in _PACKAGES]
    assert len(kept) == len(_PACKAGES)
    (folder / _LOCKS[2]).write_text("".join(kept))
    return folder


def small_wheelhouse(wheelhouse: Path, folder: Path) -> Path:
    """Its wheels for these sources, with a torch that has nothing in it."""
    for source, names in (("torch", ("pip",)), ("locked", _PACKAGES)):
        (folder / source).mkdir(parents=True)
        for name in names:
            (wheel,) = (wheelhouse / source).glob(f"{name}-*.whl")
            shutil.copy(wheel, folder / source)
    _write_wheel(folder / "torch" / f"{_TORCH}-py3-none-any.whl")
    return folder


def _write_wheel(path: Path) -> None:
    information = f"{_TORCH}.dist-info"
    files = {
        "torch/__init__.py": "",
        "torch/version.py": _VERSION,
        f"{information}/METADATA": "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0+cpu\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{information}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{information}/RECORD": record}.items():
            archive.writestr(name, text)
