"""What differs between two versions of parameters, one line for each value."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST_VALUE = 60
_ABSENT = object()


def describe_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lines like `smoke.tokens: 32 -> 48` for every value that is not the same."""
    return list(_compare(old, new, ""))


def _compare(old: Any, new: Any, name: str) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        prefix = f"{name}." if name else ""
        for key in sorted({*old, *new}, key=str):
            yield from _compare(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{prefix}{key}")
    elif old is _ABSENT:
        yield f"{name}: {_show(new)} is new"
    elif new is _ABSENT:
        yield f"{name}: {_show(old)} is gone"
    elif old != new:
        yield f"{name}: {_show(old)} -> {_show(new)}"


def _show(value: Any) -> str:
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return value[:12]
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
