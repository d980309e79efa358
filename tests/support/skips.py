"""Tests that are skipped: where that is an error, and what a run's last lines say of them."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import pytest


def lacking(reason: str, *, setting: str = "CI") -> NoReturn:
    """Skip a test for want of something that CI has; there fail, as nobody reads skips there.

    Args:
        reason: what is lacking, and how to get it.
        setting: the variable that is `true` where it must be there.

    Raises:
        Failed: it is.
        Skipped: it is not.
    """
    if os.environ.get(setting) == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def skip_lines(reports: Iterable[Any]) -> Iterator[str]:
    """How many tests were skipped, for each reason.

    Args:
        reports: pytest's reports of skipped tests.
    """
    for reason, count in Counter(_reason(one) for one in reports).items():
        yield f"{count} skipped: {reason}"


def _reason(report: Any) -> str:
    """A skip is reported as file, line and text; an expected failure as a text."""
    told = report.longrepr
    return str(told[2] if isinstance(told, tuple) else told).removeprefix("Skipped: ")
