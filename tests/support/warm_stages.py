"""One server that forks the stages of many builds, so that a test run imports once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptefoundry.cli.stage_forks import fork_server


@contextmanager
def stage_server(folder: Path) -> Iterator[dict[str, str]]:
    """A server, and the variables that let `dvc repro` and `ptefoundry build` have it fork stages.

    Args:
        folder: for its log.
    """
    with fork_server(folder) as (variables, start):
        start(0)
        yield variables
