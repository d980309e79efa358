"""Where things are in a workspace: the paths that dvc.yaml names, in one place."""

import os
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.errors import ConfigError

# Not in params.py, whose libraries take longer to load than a small pull takes.
PARAMS_FILE = "params.yaml"
BASE_VARIANT = "base"
"""The variant of a bundle without an adapter."""


@dataclass(frozen=True)
class Workspace:
    """A folder with params.yaml and dvc.yaml; everything built is below `artifacts`."""

    root: Path

    @property
    def artifacts(self) -> Path:
        """Outputs of the stages; nothing in it is edited by hand."""
        return self.root / "artifacts"

    @property
    def canonical_base(self) -> Path:
        """The converted base."""
        return self.artifacts / "base" / "canonical"

    @property
    def fetched_base(self) -> Path:
        """The base as it was fetched."""
        return self.artifacts / "base" / "fetched"

    @property
    def runner(self) -> Path:
        """The installed C++ runner."""
        return self.artifacts / "runner"

    @property
    def bundle(self) -> Path:
        """The assembled bundle."""
        return self.artifacts / "bundle"

    def fetched_adapter(self, name: str) -> Path:
        """An adapter as it was fetched."""
        return self.artifacts / "adapters" / "fetched" / name

    def canonical_adapter(self, name: str) -> Path:
        """A converted adapter."""
        return self.artifacts / "adapters" / "canonical" / name


def digest_file(fetched: Path) -> Path:
    """Where the digest of a fetched base or adapter stands, beside it: hex and a newline.

    Stages that need no more of it do not wait for its files to be there.
    """
    return fetched.with_name(f"{fetched.name}.sha256")


def find_workspace(start: Path) -> Workspace:
    """The workspace that `start` is in.

    Raises:
        ConfigError: neither `start` nor a folder above it has a params.yaml.
    """
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / PARAMS_FILE).is_file():
            return Workspace(folder)
    raise ConfigError(
        f"{start.resolve()}: expected a workspace (a folder with {PARAMS_FILE}), found none here "
        "or above; go to one or make one with `ptefoundry init DIR`"
    )


def cache_folder() -> Path:
    """The user's cache of downloads: PTEFOUNDRY_CACHE, else in XDG_CACHE_HOME or ~/.cache."""
    if explicit := os.environ.get("PTEFOUNDRY_CACHE"):
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ptefoundry"
