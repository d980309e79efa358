"""`file:path`: a file or folder on this machine, relative to the workspace."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.base.sources.wanted import Wanted, near_names
from ptefoundry.errors import ConfigError, SourceError


@dataclass(frozen=True)
class FileSource:
    """A path on this machine."""

    spec: str
    path: str

    def fetch(self, into: Path, *, wanted: Wanted, root: Path, cache: Path) -> None:  # noqa: ARG002
        """See `Source.fetch`. Copies: training writes adapters again in place."""
        path = root / self.path
        if path.is_file():
            wanted.check_named(path.name, spec=self.spec)
            shutil.copyfile(path, into / path.name)
        elif path.is_dir():
            _copy_folder(path, into, wanted, self.spec)
        else:
            raise SourceError(f"{self.spec}: {_missing(self.path, root)}")

    def forget(self, cache: Path) -> None:
        """See `Source.forget`; nothing of this machine's files is cached."""


def parse_file(spec: str, *, where: str) -> FileSource:
    """Parse `file:path`.

    Raises:
        ConfigError: there is no path, or it is written as a URL.
    """
    path = spec.removeprefix("file:")
    if path.startswith("//"):
        raise ConfigError(
            f"{where}: expected a path relative to the workspace, like file:models/base, "
            f"found the URL {spec!r}"
        )
    if not path.strip() or "\0" in path:
        raise ConfigError(f"{where}: expected file:path, found {spec!r}")
    return FileSource(spec, path)


def _copy_folder(folder: Path, into: Path, wanted: Wanted, spec: str) -> None:
    for name in wanted.choose(_names(folder, wanted), spec=spec):
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, target)


def _names(folder: Path, wanted: Wanted) -> Iterator[str]:
    """Files that could be wanted, and what else lies beside them; folders can be huge."""
    for pattern in (*wanted.patterns, "*"):
        for path in folder.glob(pattern):
            if path.is_file():
                yield path.relative_to(folder).as_posix()


def _missing(name: str, root: Path) -> str:
    path = root / name
    expected = f"expected a file or folder at {name} in the workspace {root.resolve()}"
    if path.is_symlink():
        return f"{expected}, found a link to {path.readlink()}, which is not there"
    if not path.parent.is_dir():
        return f"{expected}, found no folder {path.parent}"
    near = near_names(path.name, (entry.name for entry in path.parent.iterdir()))
    return f"{expected}, found {near} there"
