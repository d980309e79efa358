"""YAML files as typed values: whatever does not fit is refused with its file and line."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedBase, CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from ptefoundry.errors import ConfigError

STRICT = ConfigDict(extra="forbid", strict=True)
"""How pydantic's dataclasses of sections are configured: unknown keys are errors."""
_Section = TypeVar("_Section")


def read_yaml(path: Path) -> CommentedMap:
    """Read a YAML mapping, keeping comments and line numbers.

    Raises:
        ConfigError: it is missing or no YAML mapping.
    """
    return parse_yaml(path, read_text(path))


def read_text(path: Path) -> str:
    """What a YAML file has.

    Raises:
        ConfigError: it is missing or no text.
    """
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a YAML file ({error})") from error


def parse_yaml(path: Path, text: str) -> CommentedMap:
    """Parse a YAML mapping, keeping comments and line numbers; `path` is for messages.

    Raises:
        ConfigError: it is no YAML mapping.
    """
    try:
        document = YAML().load(text)
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: expected YAML, found {error.problem}") from error
    if not isinstance(document, CommentedMap):
        raise ConfigError(f"{path}: expected a mapping with sections, found {type(document)}")
    return document


def check_types(path: Path, document: CommentedMap, kind: type[_Section]) -> _Section:
    """A document as a dataclass of sections.

    Raises:
        ConfigError: it does not fit; every problem is listed with its line.
    """
    try:
        # As JSON, because strict validation of Python values takes no mapping for a section.
        return TypeAdapter(kind).validate_json(json.dumps(document, default=str))
    except ValidationError as error:
        problems = [_problem(path, document, item) for item in error.errors()]
        raise ConfigError("\n".join(problems)) from error


def line_of(document: CommentedBase, location: tuple[str, ...]) -> int:
    """Line of the deepest existing part of a location, counted from 1."""
    line = 0
    node: Any = document
    for part in location:
        if isinstance(node, CommentedSeq) and part.isdigit() and int(part) < len(node):
            line = node.lc.item(int(part))[0]
            node = node[int(part)]
        elif isinstance(node, CommentedMap) and part in node:
            line = node.lc.key(part)[0]
            node = node[part]
        else:
            break
    return line + 1


def _problem(path: Path, document: CommentedMap, item: Any) -> str:
    """One of pydantic's errors as file, line, field and advice."""
    location = tuple(str(part) for part in item["loc"])
    field = ".".join(location) or "(top level)"
    prefix = f"{path}:{line_of(document, location)}: {field}"
    if item["type"] == "unexpected_keyword_argument":
        return f"{prefix}: expected only known keys, found {location[-1]!r}; remove or correct it"
    if item["type"] == "missing":
        return f"{prefix}: expected this key, found none; add it"
    return f"{prefix}: {item['msg']}, found {item['input']!r}"
