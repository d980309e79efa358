"""Holding back what ExecuTorch, torch and coremltools say about themselves and each other."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """No notices, no progress bars; errors come as exceptions."""
    from tqdm import tqdm

    level, show = logging.root.manager.disable, tqdm.__init__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            logging.disable(logging.WARNING)
            tqdm.__init__ = partialmethod(show, disable=True)
            yield
        finally:
            logging.disable(level)
            tqdm.__init__ = show
