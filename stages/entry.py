"""How a stage is started: `python -m ptefoundry.stages.<name>`, from a workspace."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ptefoundry.errors import BuildError, FoundryError
from ptefoundry.graph_check import check_graph
from ptefoundry.peak_memory import report_peak
from ptefoundry.report import ASSEMBLE_VARIABLE
from ptefoundry.toolchain import check_toolchain


def start(section: str, stage: Callable[[], None]) -> None:
    """Run a stage of the current graph with the pinned toolchain; exit with its error's code.

    The working directory is the workspace, as DVC has it.
    """
    # A thread that waits for another by spinning takes the core from it wherever the machine
    # is busy: several times the CPU and time. OpenMP reads this when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if os.environ.get(ASSEMBLE_VARIABLE) and section != "bundle":
        print(
            "error: --assemble: expected this stage's outputs in the cache, found none; build it "
            "where its part of the release is built, and let that push the cache",
            file=sys.stderr,
        )
        sys.exit(BuildError.exit_code)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        check_graph(Path.cwd())
        check_toolchain(Path.cwd(), section)
        stage()
    except FoundryError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    finally:
        report_peak()
