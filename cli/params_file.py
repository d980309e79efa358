"""Changing params.yaml as a person would: other lines stay as they are.

The change is made in the text at the lines that the YAML parser names, and the
result is parsed again: it must be the old document with just that change.
"""

import io
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from ptefoundry.errors import ConfigError
from ptefoundry.files import write_text
from ptefoundry.typed_yaml import read_yaml
from ptefoundry.workspace import PARAMS_FILE

from .sources import Pinned

_INDENT = 2
_ADAPTERS = "adapters"


def set_adapter(root: Path, name: str, pinned: Pinned) -> None:
    """Write an adapter into a workspace's params.yaml, in place of an older one of its name.

    Raises:
        ConfigError: its adapters are written in a form that cannot be changed safely.
    """
    path = root / PARAMS_FILE
    document, lines = read_yaml(path), path.read_text().splitlines(keepends=True)
    adapters = document.get(_ADAPTERS) or CommentedMap()
    entry = {"source": pinned.source} | ({"digest": pinned.digest} if pinned.digest else {})
    everything = {**_plain(adapters), name: entry}
    if not adapters or adapters.fa.flow_style():
        _write_section(lines, document, everything)
    elif _key(adapters, name) is not None:
        start, end = _lines_of(lines, document, name)
        lines[start:end] = _block({name: entry}, adapters.lc.col)
    else:
        end = _section_end(lines, document)
        lines[end:end] = _block({name: entry}, adapters.lc.col)
    _write(path, "".join(lines), {**_plain(document), _ADAPTERS: everything})


def remove_adapter(root: Path, name: str) -> None:
    """Take an adapter out of a workspace's params.yaml.

    Raises:
        ConfigError: there is none of that name, or its form cannot be changed safely.
    """
    path = root / PARAMS_FILE
    document, lines = read_yaml(path), path.read_text().splitlines(keepends=True)
    adapters = document.get(_ADAPTERS) or CommentedMap()
    if _key(adapters, name) is None:
        known = ", ".join(map(str, adapters)) or "none"
        raise ConfigError(f"{path}: expected an adapter {name!r}, found only: {known}")
    left = {other: value for other, value in _plain(adapters).items() if other != name}
    if left and not adapters.fa.flow_style():
        start, end = _lines_of(lines, document, name)
        del lines[start:end]
    else:
        _write_section(lines, document, left)
    _write(path, "".join(lines), {**_plain(document), _ADAPTERS: left})


def _write_section(lines: list[str], document: CommentedMap, adapters: dict[str, Any]) -> None:
    """Write all adapters as a block, the form that this module changes in place."""
    start, end = len(lines), len(lines)
    if _ADAPTERS in document:
        start, end = document.lc.key(_ADAPTERS)[0], _section_end(lines, document)
    comment = _comment(lines[start]) if start < end else ""
    head = f"{_ADAPTERS}:{comment}\n" if adapters else f"{_ADAPTERS}: {{}}{comment}\n"
    lines[start:end] = [head, *(_block(adapters, _INDENT) if adapters else [])]


def _lines_of(lines: list[str], document: CommentedMap, name: str) -> tuple[int, int]:
    """Where an adapter starts and ends; comments behind it are the next one's."""
    adapters = document[_ADAPTERS]
    key = _key(adapters, name)
    after = list(adapters)[list(adapters).index(key) + 1 :]
    start = adapters.lc.key(key)[0]
    if not after:
        return start, _section_end(lines, document)
    return start, _last_content(lines, start, adapters.lc.key(after[0])[0])


def _key(adapters: CommentedMap, name: str) -> Any:
    """The key as YAML has it, which is a number if the name is one; None if there is none."""
    return next((key for key in adapters if str(key) == name), None)


def _section_end(lines: list[str], document: CommentedMap) -> int:
    """The line after the last adapter, comments behind it left out."""
    start = document.lc.key(_ADAPTERS)[0]
    following = [document.lc.key(other)[0] for other in document]
    end = min((line for line in following if line > start), default=len(lines))
    return _last_content(lines, start, end)


def _last_content(lines: list[str], start: int, end: int) -> int:
    """`end` less the blank lines and comments before it."""
    while end > start + 1 and lines[end - 1].strip()[:1] in ("", "#"):
        end -= 1
    if end == len(lines) and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return end


def _comment(line: str) -> str:
    found = re.search(r"\s+#.*", line)
    return found[0] if found else ""


def _block(value: dict[str, Any], column: int) -> list[str]:
    yaml, stream = YAML(), io.StringIO()
    yaml.width = 10_000
    yaml.dump(value, stream)
    return [" " * column + line for line in stream.getvalue().splitlines(keepends=True)]


def _plain(value: Any) -> Any:
    """The same value without comments and positions."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _write(path: Path, text: str, expected: dict[str, Any]) -> None:
    found = YAML().load(text)
    if _plain(found) != _plain(expected):
        raise ConfigError(
            f"{path}: {_ADAPTERS}: cannot be changed automatically in the form it has; "
            "write it as a block (one adapter per line and its fields below) and run again"
        )
    write_text(path, text)
