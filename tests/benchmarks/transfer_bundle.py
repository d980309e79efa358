"""A bundle that is made of files to move: of a foundation, or of the programs of adapters."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptefoundry.files import place
from support.packed import BUNDLE, NAME, add_adapters, copy_bundle, edit_manifest

__all__ = ["NAME", "PROGRAM", "make_bundle"]

PROGRAM = (BUNDLE / "xnnpack" / "red.pte").read_bytes()
"""What files have to begin with to be taken for programs."""


def make_bundle(folder: Path, files: Mapping[Path, str]) -> dict[str, Path]:
    """Make a bundle in which these files take the places of the golden bundle's.

    Args:
        folder: of the bundle; made.
        files: sha256 of each in hex. One becomes the foundation, several become programs
            of as many adapters.

    Returns:
        Where each file is in the bundle, by the file's name.
    """
    bundle = copy_bundle(folder)
    if len(files) == 1:
        names = ["xnnpack/foundation.ptd"]
    else:
        names = [f"xnnpack/{adapter}.pte" for adapter in add_adapters(bundle, len(files))]
    paths = dict(zip(files, names, strict=True))
    for file, name in paths.items():
        (bundle / name).unlink()
        place(file, bundle / name)
    entries = {
        name: {"path": name, "size": file.stat().st_size, "sha256": files[file]}
        for file, name in paths.items()
    }

    def note(manifest: dict[str, Any]) -> None:
        manifest["files"] = [entries.get(entry["path"], entry) for entry in manifest["files"]]

    edit_manifest(bundle, note)
    return {file.name: Path(name) for file, name in paths.items()}
