"""What the last lines of a test run say of tests that were skipped."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any


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
