"""Ranges of runtimes."""

import pytest

from ptefoundry.errors import RegistryError
from ptefoundry.registry.facts import runtime_fits, runtime_range


@pytest.mark.parametrize(
    ("executorch", "expected"),
    [
        ("1.5.1", ">=1.5.1,<1.7.0"),
        ("2.0.0", ">=2.0.0,<2.2.0"),
        ("1.9.0", ">=1.9.0,<1.11.0"),
        ("1.6.0.dev20261101", None),
        ("not installed", None),
    ],
)
def test_range_of_an_exporter(executorch: str, expected: str | None) -> None:
    assert runtime_range(executorch) == expected


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("1.5.0", False),
        ("1.5.1", True),
        ("1.5.10", True),
        ("1.6.99", True),
        ("1.7.0", False),
        ("1.10.0", False),  # numbers, not texts
        ("2.0.0", False),
    ],
)
def test_releases_in_a_range(version: str, fits: bool) -> None:
    assert runtime_fits(">=1.5.1,<1.7.0", version) is fits


@pytest.mark.parametrize(
    ("runtime", "version"), [(">=1.5.1,<1.7.0", "1.5"), ("1.5.1", "1.5.1"), (">=1,<2", "1.5.1")]
)
def test_other_forms_are_refused(runtime: str, version: str) -> None:
    with pytest.raises(RegistryError, match=r"expected a release such as 1\.5\.1"):
        runtime_fits(runtime, version)
