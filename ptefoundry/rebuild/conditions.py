"""Conditions of a build that must not change its bytes, and builds under them."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ptefoundry.errors import BuildError, FoundryError

DOWNLOADS = "cache"
"""Name of the cache of sources in a scratch folder."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Where and how a build runs."""

    name: str
    folder: str
    """Of the workspace, below a folder of its own."""
    environment: Mapping[str, str] = field(default_factory=dict)
    umask: int | None = None
    """None: as it is."""
    cpus: int | None = None
    """How many it may use; None: all."""
    hostname: str | None = None
    """Only where the place can give one; None: as it is."""


PLAIN = Conditions(name="rebuild", folder="workspace")
"""Another folder, and nothing else."""

# Time zones and locales that every system knows, whatever is installed.
VARIED = (
    Conditions(
        name="first",
        folder="first",
        environment={"TZ": "EAST-14", "LC_ALL": "C", "PYTHONHASHSEED": "1"},
        umask=0o022,
        cpus=1,
        hostname="first",
    ),
    Conditions(
        name="second",
        folder="another/much longer path, with spaces and ümläute",
        environment={"TZ": "WEST11:30", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "4242"},
        umask=0o077,
        hostname="second-with-another-name",
    ),
)
"""Two builds that have as little in common as one machine allows."""


class Builder(Protocol):
    """Runs `ptefoundry build` somewhere, with caches of its own."""

    @property
    def downloads(self) -> Path:
        """The cache of sources that builds use."""

    def build(self, root: Path, conditions: Conditions, stages: Sequence[str]) -> None:
        """Build stages of the workspace at `root`, all of them if none are named.

        Raises:
            FoundryError: the build failed; it has said why.
        """


class HereBuilder:
    """Builds in a process of this machine, with caches of its own."""

    def __init__(self, scratch: Path) -> None:
        """Everything that it keeps is below `scratch`."""
        self._scratch = scratch

    @property
    def downloads(self) -> Path:
        """The cache of sources that builds use."""
        return self._scratch / DOWNLOADS

    def build(self, root: Path, conditions: Conditions, stages: Sequence[str]) -> None:
        """See `Builder`."""
        process = subprocess.Popen(
            [sys.executable, "-c", build_program(conditions), *build_arguments(stages)],
            cwd=root,
            env={
                **os.environ,
                **own_caches(self._scratch),
                # Nor templates that others compiled.
                "PTEFOUNDRY_REGISTRY": "",
                **conditions.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # What is printed about stages goes to stderr, as that of any build.
            process_group=0,
        )
        try:
            code = process.wait()
        finally:
            _interrupt(process)
        if code != 0:
            raise build_failed(conditions, code)


def build_arguments(stages: Sequence[str]) -> list[str]:
    """Of `ptefoundry`, to build stages, all of them if none are named."""
    return ["build", "--locked", *(word for stage in stages for word in ("--only", stage))]


def own_caches(scratch: Path) -> dict[str, str]:
    """Variables that keep downloads, templates and DVC's files apart from the user's."""
    folders = {
        "PTEFOUNDRY_CACHE": scratch / DOWNLOADS,
        "DVC_SITE_CACHE_DIR": scratch / "dvc-site",
        "DVC_GLOBAL_CONFIG_DIR": scratch / "dvc-global",
        "DVC_SYSTEM_CONFIG_DIR": scratch / "dvc-system",
    }
    return {name: str(folder) for name, folder in folders.items()}


def build_program(conditions: Conditions) -> str:
    """Python code that is `ptefoundry`, under what a process can set for itself."""
    return f"{preparation(conditions)}from ptefoundry.cli.main import main; main()"


def preparation(conditions: Conditions) -> str:
    """Python code that sets the umask and the CPUs.

    Containers have no better way for CPUs: an engine without root may not limit them.
    """
    code = "import os; "
    if conditions.umask is not None:
        code += f"os.umask({conditions.umask}); "
    if conditions.cpus is not None and hasattr(os, "sched_setaffinity"):
        code += f"os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{conditions.cpus}]); "
    return code


def _interrupt(process: "subprocess.Popen[bytes]") -> None:
    """Let a build that is still running stop its stages, and wait for that."""
    while process.poll() is None:
        with suppress(KeyboardInterrupt):
            process.send_signal(signal.SIGINT)
            process.wait()


def build_failed(conditions: Conditions, code: int) -> FoundryError:
    """The build's own exit code goes on."""
    error = BuildError(
        f"{conditions.name}: the build failed (exit code {code}), so nothing could be compared; "
        "what it says stands above"
    )
    if code > 0:
        error.exit_code = code
    return error
