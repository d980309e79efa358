"""Replacing functions of torch and ExecuTorch for a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ptefoundry.errors import BuildError


@contextmanager
def replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Replace an attribute inside the context, and put it back.

    Args:
        owner: the class or module that has it.
        name: of the attribute.
        make: gives the replacement, from what is there.

    Raises:
        BuildError: the owner has no such attribute, so it is another version of the
            library than the replacement was written for.
    """
    if name not in vars(owner):
        owned = f"{getattr(owner, '__module__', '')}.{owner.__name__}".lstrip(".")
        raise BuildError(
            f"{owned}: expected {name}, found none; this is another version than compiling was "
            "written for, install the versions in requirements.lock"
        )
    original = vars(owner)[name]
    setattr(owner, name, make(original))
    try:
        yield
    finally:
        setattr(owner, name, original)
