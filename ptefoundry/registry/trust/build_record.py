"""What is known of how a version was built: for provenance and bills of materials.

Read from the workspace, from git and from the environment that GitHub Actions sets. No
times and no paths of this machine are in it: the same commit gives the same record.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ptefoundry.digest import hash_file
from ptefoundry.errors import BuildError, ConfigError, MissingToolError
from ptefoundry.params import Params
from ptefoundry.process import run
from ptefoundry.registry.trust.version_signatures import VersionFiles

DVC_LOCK, TOOLCHAIN = "dvc.lock", "toolchain.json"
#: What a section of toolchain.json has besides the versions of packages.
_NO_PACKAGES = frozenset({"code", "compiler", "image", "python", "sources"})
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True, kw_only=True)
class GitState:
    """The commit that was built."""

    commit: str
    """Hex digits of the commit."""
    repository: str | None = None
    """Address without credentials."""
    ref: str | None = None
    """Such as `refs/tags/v1.4.0`, where CI tells it."""
    is_clean: bool = True
    """Whether the tracked files were those of the commit."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A base or an adapter as it was fetched."""

    name: str
    source: str
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class BuildRecord:
    """A version and what it was built of."""

    version: VersionFiles
    base: Source
    adapters: tuple[Source, ...]
    """By name."""
    params: Mapping[str, Any]
    """The sections of params.yaml that the build reads."""
    toolchain: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """toolchain.json: kind of stage -> what -> version or digest."""
    dvc_lock: str | None = None
    """Hex SHA-256 of dvc.lock."""
    git: GitState | None = None
    """None outside of a repository."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """GITHUB_* where GitHub Actions runs this."""

    @property
    def packages(self) -> tuple[tuple[str, str], ...]:
        """Python packages that could change the result: names and versions, in order."""
        found = (
            (name, version)
            for section in self.toolchain.values()
            for name, version in section.items()
            if name not in _NO_PACKAGES
        )
        return tuple(sorted(set(found)))

    @property
    def images(self) -> tuple[str, ...]:
        """Content of the images that stages ran in, hex SHA-256; none outside of containers."""
        found = {section["image"] for section in self.toolchain.values() if "image" in section}
        return tuple(sorted(found))


def record_build(
    root: Path,
    params: Params,
    version: VersionFiles,
    environment: Mapping[str, str] = os.environ,
) -> BuildRecord:
    """What is known of the build of a workspace.

    Args:
        root: of the workspace.
        params: its params.yaml.
        version: that was built.
        environment: of the process; only what GitHub Actions sets is kept.

    Raises:
        ConfigError: toolchain.json is malformed.
    """
    lock = root / DVC_LOCK
    return BuildRecord(
        version=version,
        base=Source(
            name=params.base.name, source=params.base.source, sha256=_sha256(params.base.digest)
        ),
        adapters=tuple(
            Source(name=name, source=adapter.source, sha256=_sha256(adapter.digest))
            for name, adapter in sorted(params.adapters.items())
        ),
        params={
            section: asdict(getattr(params, section)) for section in ("bundle", "base", "backends")
        }
        | {"adapters": {name: asdict(adapter) for name, adapter in params.adapters.items()}},
        toolchain=_read_toolchain(root / TOOLCHAIN),
        dvc_lock=hash_file(lock) if lock.is_file() else None,
        git=_read_git(root, environment),
        environment=_github(environment),
    )


def _sha256(digest: str | None) -> str | None:
    return digest.removeprefix("sha256:") if digest is not None else None


def _read_toolchain(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_bytes())
        return {
            str(section): {str(key): str(item) for key, item in facts.items()}
            for section, facts in value.items()
        }
    except (ValueError, AttributeError) as error:
        raise ConfigError(
            f"{path}: expected the pinned toolchain ({error}); run `ptefoundry build`"
        ) from error


def _read_git(root: Path, environment: Mapping[str, str]) -> GitState | None:
    """The commit that is checked out; without git or a repository there is none."""
    try:
        commit = run(["git", "rev-parse", "--verify", "HEAD"], cwd=root).strip()
        changed = run(["git", "status", "--porcelain", "--untracked-files=no"], cwd=root)
        remotes = run(["git", "remote"], cwd=root).split()
        address = run(["git", "remote", "get-url", remotes[0]], cwd=root) if remotes else None
    except (BuildError, MissingToolError):
        return None
    if not _COMMIT.fullmatch(commit):
        return None
    if environment.get("GITHUB_ACTIONS") == "true":
        address = f"{environment['GITHUB_SERVER_URL']}/{environment['GITHUB_REPOSITORY']}"
    return GitState(
        commit=commit,
        repository=_public_address(address.strip()) if address else None,
        ref=environment.get("GITHUB_REF"),
        is_clean=not changed.strip(),
    )


def _public_address(address: str) -> str | None:
    """An address that may be shown to everybody: no credentials, no path of this machine."""
    ssh = re.fullmatch(r"(?:[\w.-]+@)?([\w.-]+):(?!/)([\w./-]+)", address)
    if ssh:
        return f"ssh://{ssh[1]}/{ssh[2]}"
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https", "ssh", "git") or not parts.hostname:
        return None
    host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _github(environment: Mapping[str, str]) -> dict[str, str]:
    """Which run of which workflow this is; nothing where GitHub Actions does not run."""
    if environment.get("GITHUB_ACTIONS") != "true":
        return {}
    names = (
        "GITHUB_EVENT_NAME",
        "GITHUB_REF",
        "GITHUB_REPOSITORY",
        "GITHUB_REPOSITORY_ID",
        "GITHUB_RUN_ATTEMPT",
        "GITHUB_RUN_ID",
        "GITHUB_SERVER_URL",
        "GITHUB_SHA",
        "GITHUB_WORKFLOW_REF",
        "RUNNER_ENVIRONMENT",
    )
    return {name: environment[name] for name in names if name in environment}
