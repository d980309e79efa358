"""Working in a workspace with DVC's own code, alone and without its talk."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .dvc_files import check_dvc
from .graph import opened


@contextmanager
def opened_for_work(root: Path) -> Iterator[Any]:
    """A `dvc.repo.Repo` that no other DVC command works in; DVC says nothing by itself.

    Raises:
        ConfigError: the workspace is no DVC repository.
        BuildError: another command works in it.
    """
    check_dvc(root)
    import dvc.logger  # noqa: F401  sets levels when it is imported

    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with opened(root) as repo, repo.lock:
            yield repo
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
