"""Reading fields of somebody else's configuration: typed, named when refused.

Every refusal says the file, the field, what was found and what is supported, so
that a checkpoint that we cannot represent is never quietly taken for another.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptefoundry.errors import CheckpointError

_MAX_SIZE = 2**31 - 1
"""Sizes beyond this are damage, not models."""


def unsupported(path: Path, field: str, found: object, supported: str) -> CheckpointError:
    """The error for a field whose value we do not take; to be raised by the caller."""
    return CheckpointError(f"{path}: {field}: found {shorten(found)}; supported: {supported}")


def shorten(value: object, *, limit: int = 120) -> str:
    """`repr(value)`, cut to at most `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


class Fields:
    """The fields of one file, read by name and type.

    A getter without default raises CheckpointError where the field is missing or
    null; every getter raises it where the value is of another type.
    """

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path = path
        self.values = values

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def get(self, name: str, default: Any = None) -> Any:
        """The raw value; `default` where it is missing or null."""
        value = self.values.get(name)
        return default if value is None else value

    def size(self, name: str, default: int | None = None) -> int:
        """A positive integer."""
        value = self._required(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _MAX_SIZE:
            raise self.refuse(name, "a positive integer")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A positive number."""
        value = self._required(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e30:
            raise self.refuse(name, "a positive number")
        return float(value)

    def flag(self, name: str, *, default: bool | None = None) -> bool:
        """A boolean."""
        value = self._required(name, default)
        if not isinstance(value, bool):
            raise self.refuse(name, "true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A string."""
        value = self._required(name, default)
        if not isinstance(value, str):
            raise self.refuse(name, "a string")
        return value

    def items(self, name: str, kind: type) -> list[Any]:
        """A list whose elements are all of `kind`."""
        value = self._required(name, None)
        if not isinstance(value, list) or not all(type(item) is kind for item in value):
            raise self.refuse(name, f"a list of {kind.__name__}")
        return value

    def require(self, name: str, *allowed: object) -> None:
        """Refuse the field unless it is missing, null or one of `allowed`."""
        value = self.values.get(name)
        if value is not None and not any(_same(value, item) for item in allowed):
            raise self.refuse(name, " or ".join(map(repr, allowed)) or "leaving it out")

    def refuse(self, name: str, supported: str) -> CheckpointError:
        """The error for the value that stands in field `name`."""
        return unsupported(self.path, name, self.values.get(name, "nothing"), supported)

    def _required(self, name: str, default: Any) -> Any:
        value = self.get(name, default)
        if value is None:
            raise CheckpointError(f"{self.path}: {name}: expected a value, found nothing")
        return value


def _same(value: object, allowed: object) -> bool:
    # True == 1 in Python, but a count of 1 is no flag.
    return value == allowed and isinstance(value, bool) == isinstance(allowed, bool)


def read_fields(path: Path) -> Fields:
    """Read a JSON object.

    Raises:
        CheckpointError: the file cannot be read or is not a JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: expected a JSON file ({error})") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {shorten(values)}")
    return Fields(path, values)
