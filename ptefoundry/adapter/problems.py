"""Reasons to refuse an adapter, collected so that all of them are told at once."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptefoundry.errors import AdapterError

_LONGEST_VALUE = 120


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One reason to refuse: where it is, what is there and what could be there."""

    file: str
    """Name in the adapter's folder."""
    field: str
    """Field of the configuration, tensor or part of the file."""
    found: str
    supported: str

    def __post_init__(self) -> None:
        # Both can quote names that somebody else chose.
        object.__setattr__(self, "field", plain(self.field))
        object.__setattr__(self, "found", plain(self.found))

    def __str__(self) -> str:
        return f"{self.file}: {self.field}: found {self.found}; supported: {self.supported}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def refuse(folder: Path, problems: Sequence[Problem]) -> None:
    """Raise if there is any problem, with one line for each.

    Raises:
        AdapterError: `problems` is not empty.
    """
    if problems:
        lines = "".join(f"\n- {problem}" for problem in problems)
        raise AdapterError(f"adapter {folder} is refused:{lines}")


def plain(text: str) -> str:
    """`text` with every character escaped that could command a terminal or has no UTF-8."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def show(value: object) -> str:
    """A value of a JSON file as text, shortened if it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def enumerate_names(names: Iterable[str], *, limit: int = 6) -> str:
    """The first names and how many more there are, for instance `a, b and 3 more`."""
    names = [plain(name) for name in names]
    text = ", ".join(names[:limit])
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"
