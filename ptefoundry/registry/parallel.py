"""Many small requests at once, for any number of them in little memory."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

THREADS = 16
BLOB_THREADS = max(4, min(8, 2 * (os.cpu_count() or 1)))
"""Requests at once where each moves a blob, or a part of one.

More than the processors can serve cost time, as they wait for each other; fewer than four
leave a connection of long delay idle.
"""
_BATCH = 64
"""Items taken per thread before the next ones are asked for."""
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def for_each(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Call a function with each item by several threads; yields results in order.

    An error ends it, after the calls that are under way.
    """
    source = iter(items)
    with ThreadPoolExecutor(THREADS) as pool:
        while batch := list(islice(source, THREADS * _BATCH)):
            yield from pool.map(function, batch)
