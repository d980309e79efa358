"""Replacing functions of libraries for a while."""

from types import SimpleNamespace

import pytest

from ptefoundry.errors import BuildError
from ptefoundry.lowering.patching import replaced


class Library:
    """Stands for a class of another package."""

    def compute(self) -> int:
        return 1

    @property
    def size(self) -> int:
        return 10


class Derived(Library):
    """Inherits what it could be asked to replace."""


def test_the_replacement_gets_the_original_and_ends_with_the_context() -> None:
    with replaced(Library, "compute", lambda original: lambda self: original(self) + 1):
        assert Library().compute() == 2
    assert Library().compute() == 1


def test_properties_can_be_replaced() -> None:
    def half(original: property) -> property:
        return property(lambda self: original.__get__(self) // 2)

    with replaced(Library, "size", half):
        assert Library().size == 5
    assert Library().size == 10


def test_the_original_is_back_after_an_error() -> None:
    original = vars(Library)["compute"]
    with pytest.raises(ZeroDivisionError), replaced(Library, "compute", lambda _: None):
        _ = 1 / 0
    assert vars(Library)["compute"] is original


@pytest.mark.parametrize(
    "owner", [Library, Derived, SimpleNamespace(__name__="library", other=1)], ids=repr
)
def test_a_name_that_is_gone_is_an_error(owner: object) -> None:
    """Inherited does not count: the replacement would hide another class's function."""
    name = "compute" if owner is Derived else "gone"
    with pytest.raises(BuildError, match=rf"expected {name}, found none.*requirements\.lock"):
        replaced(owner, name, lambda original: original).__enter__()
