"""Differences between two JSON documents, by field."""

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from ptefoundry.errors import ArtifactError
from ptefoundry.rebuild.difference import Difference, count_different

_ABSENT = object()
_SHOWN_CHARACTERS = 60


def compare_json(path: str, expected: bytes, found: bytes) -> Iterator[Difference]:
    """Fields that differ, such as `files[2].sha256`; the text itself where all fields are equal.

    Raises:
        ArtifactError: one of them is no JSON.
    """
    try:
        theirs, ours = json.loads(expected), json.loads(found)
    except ValueError as error:
        raise ArtifactError(f"{path}: expected JSON, found something else ({error})") from error
    differences = list(_compare(path, "", theirs, ours))
    yield from differences
    if not differences and expected != found:
        yield _difference(path, "text", expected, found, "same values, written otherwise")


def _compare(path: str, field: str, expected: Any, found: Any) -> Iterator[Difference]:
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in dict.fromkeys((*expected, *found)):
            name = f"{field}.{key}" if field else key
            yield from _compare(path, name, expected.get(key, _ABSENT), found.get(key, _ABSENT))
    elif isinstance(expected, list) and isinstance(found, list):
        for index, (one, other) in enumerate(zip_longest(expected, found, fillvalue=_ABSENT)):
            yield from _compare(path, f"{field}[{index}]", one, other)
    elif expected is _ABSENT or found is _ABSENT or _text(expected) != _text(found):
        detail = f"expected {_shown(expected)}, found {_shown(found)}"
        yield _difference(path, field, _text(expected), _text(found), detail)


def _difference(path: str, field: str, expected: bytes, found: bytes, detail: str) -> Difference:
    count, _ = count_different(expected, found)
    return Difference(path=path, section=f"field {field}", bytes=count, detail=detail)


def _text(value: Any) -> bytes:
    """As JSON, which tells 1 from 1.0 and from true."""
    return b"" if value is _ABSENT else json.dumps(value, ensure_ascii=False).encode()


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    text = _text(value).decode()
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
