"""One server that forks the stages of many builds, so that a test run imports once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ptefoundry.cli.stage_forks import fork_server


@contextmanager
def warm_stages(folder: Path) -> Iterator[None]:
    """Within the block stages of `dvc repro` and of `ptefoundry build` are forked by one server.

    Args:
        folder: for its log.
    """
    with fork_server(folder) as (variables, start), pytest.MonkeyPatch.context() as patch:
        start(0)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield
