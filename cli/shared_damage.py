"""What a workspace knows to be damaged in its shared cache, for the next push to mend."""

from collections.abc import Collection
from pathlib import Path

from ptefoundry.files import write_text

_FILE = Path(".dvc") / "tmp" / "ptefoundry-shared-cache-damaged"
"""Names in the store, one in a line; git ignores it."""


def read_damaged(root: Path) -> set[str]:
    """Names in the store that were found damaged and not mended since."""
    path = root / _FILE
    return set(path.read_text().splitlines()) if path.is_file() else set()


def note_damaged(root: Path, names: Collection[str]) -> None:
    """Add names."""
    lines = sorted(read_damaged(root) | set(names))
    write_text(root / _FILE, "".join(f"{name}\n" for name in lines))


def forget_damaged(root: Path) -> None:
    """All is mended."""
    (root / _FILE).unlink(missing_ok=True)
