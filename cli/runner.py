"""Finding the C++ runner, and building it once where there is none."""

import os
from pathlib import Path

from ptefoundry.digest import hash_json
from ptefoundry.errors import ConfigError
from ptefoundry.native import RUNNER_PROGRAM, build_runner, runner_program
from ptefoundry.toolchain import describe_section
from ptefoundry.workspace import Workspace, cache_folder

from .output import print_note

RUNNER_VARIABLE = "PTEFOUNDRY_RUNNER"
"""Environment variable with the folder that a runner is installed in."""


def find_runner(workspace: Workspace | None) -> Path:
    """The runner's program: the environment's, the workspace's, else the cache's.

    Raises:
        ConfigError: PTEFOUNDRY_RUNNER names a folder without a runner.
        BuildError: it cannot be built.
    """
    if explicit := os.environ.get(RUNNER_VARIABLE):
        program = Path(explicit) / RUNNER_PROGRAM
        if not program.is_file():
            raise ConfigError(
                f"{RUNNER_VARIABLE}: expected a folder with {RUNNER_PROGRAM}, found {explicit}"
            )
        return program
    if workspace is not None and (workspace.runner / RUNNER_PROGRAM).is_file():
        return runner_program(workspace.runner)
    prefix = cache_folder() / "runner" / hash_json(describe_section("runner"))[:16]
    if not (prefix / RUNNER_PROGRAM).is_file():
        print_note(f"building the runner, once for this toolchain: {prefix}")
        build_runner(prefix)
    return prefix / RUNNER_PROGRAM
