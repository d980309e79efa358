"""What every kind of source is, and the checks that their spec parsers share."""

from pathlib import Path
from typing import Protocol

from ptefoundry.base.sources.wanted import Wanted
from ptefoundry.errors import ConfigError


class Source(Protocol):
    """A place that files come from, as written in a spec."""

    @property
    def spec(self) -> str:
        """The text that it was parsed from; errors begin with it."""

    def fetch(self, into: Path, *, wanted: Wanted, root: Path, cache: Path) -> str | None:
        """Put the wanted files into the folder `into`.

        Args:
            into: An existing, empty folder. It holds a part of the files after
                a failure, so the caller must not use it then.
            wanted: Which files to take where the spec names a folder.
            root: The workspace that local paths are relative to.
            cache: Where partial downloads stay, for the next try to go on from.

        Returns:
            The commit that a branch or tag stood for; None where nothing can move or
            there are no commits.

        Raises:
            SourceError: the source cannot be reached or holds something else.
        """

    def forget(self, cache: Path) -> None:
        """Remove what the cache holds of this source, as it proved to be wrong."""


def file_name(path: str, *, spec: str, where: str) -> str:
    """The last part of a path in a spec, which becomes a file's name on disk.

    Raises:
        ConfigError: it is empty or would not stay in its folder.
    """
    name = path.rsplit("/", 1)[-1]
    if name in {"", ".", ".."} or any(char in name for char in "\\\0"):
        raise ConfigError(f"{where}: expected {spec!r} to end in a file name, found {name!r}")
    return name


def check_inner_path(path: str, *, spec: str, where: str) -> str:
    """Check a relative POSIX path inside a repository or wheel, without its final slash.

    Raises:
        ConfigError: it is empty, absolute or climbs out with `..`.
    """
    trimmed = path.removesuffix("/")
    parts = trimmed.split("/")
    if any(part in {"", ".", ".."} for part in parts) or any(char in path for char in "\\\0"):
        raise ConfigError(
            f"{where}: expected {spec!r} to end in a relative path like folder/file, found {path!r}"
        )
    return trimmed
