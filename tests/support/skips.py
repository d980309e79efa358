"""Tests that are skipped: where that is an error, and what a run's last lines say of them."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import pytest


def lacking(reason: str) -> NoReturn:
    """Skip a test for want of something that CI installs; in CI fail, as nobody reads skips there.

    Raises:
        Failed: CI=true.
        Skipped: it is not.
    """
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def container_skip_lines(reports: Iterable[Any]) -> Iterator[str]:
    """How many container tests were skipped, for each reason.

    Args:
        reports: pytest's reports of skipped tests.
    """
    reasons = Counter(_reason(one) for one in reports if "/container/" in one.nodeid)
    for reason, count in reasons.items():
        yield f"{count} container tests were skipped: {reason}"


def _reason(report: Any) -> str:
    """A skip is reported as file, line and text; an expected failure as a text."""
    told = report.longrepr
    return str(told[2] if isinstance(told, tuple) else told).removeprefix("Skipped: ")
