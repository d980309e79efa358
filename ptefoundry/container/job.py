"""What is to run in a container."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A file or folder of this machine that a container sees."""

    source: Path
    target: Path
    read_only: bool = False


def same_place(path: Path, *, read_only: bool = False) -> Mount:
    """A mount of `path` under its own name."""
    return Mount(source=path, target=path, read_only=read_only)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command and what it finds around it. It runs as the caller's user and group."""

    command: Sequence[str]
    folder: Path
    """The working directory, in the container."""
    purpose: str
    """What it is for; containers of jobs that were killed are found by it."""
    mounts: Sequence[Mount] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """All of it: nothing of this process's environment gets there by itself."""
    network: bool = False
    """Whether it reaches more than itself."""
    hostname: str | None = None
    """None for one that the engine makes up."""
