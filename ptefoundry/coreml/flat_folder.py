"""A folder in one piece, as ExecuTorch's CoreML delegate reads it.

The files' bytes follow each other; behind them stands a JSON object that names files and
folders, written backwards so that it can be read from the end
(`backends/apple/coreml/runtime/inmemoryfs` of ExecuTorch, whose own writer takes files in
the order of a hash table).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ptefoundry.errors import ArtifactError

_FILE, _FOLDER = 0, 1
_MAX_INDEX_BYTES = 1 << 20
_PIECE_BYTES = 8 << 20


def write_flat_folder(name: str, files: Mapping[str, bytes | Path], into: BinaryIO) -> None:
    """Write files as a folder, in the order in which they are given.

    Args:
        name: of the folder.
        files: by path in the folder, with forward slashes; none may be empty, because
            ExecuTorch maps them. Bytes, or a file to copy.
        into: where to.
    """
    index = _Index()
    for path, content in files.items():
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        assert size > 0
        index.add_file(path, size)
        _copy(content, into)
    text = json.dumps({"nodes": index.nodes(name)}, separators=(",", ":"), sort_keys=True)
    assert text.isascii()
    into.write(text[::-1].encode())


def read_flat_folder(data: memoryview, where: str) -> dict[str, memoryview]:
    """The files of a folder by path, without its own name.

    Raises:
        ArtifactError: it is malformed; `where` is what errors call it.
    """
    try:
        nodes = _read_index(data)
        paths: dict[int, dict[str, int]] = {}
        for number, node in enumerate(nodes):
            paths[number] = {"": number}
            if node["kind"] == _FOLDER:
                paths[number] = {
                    f"{child}/{path}".rstrip("/"): leaf
                    for child, place in node["children"].items()
                    for path, leaf in paths.pop(place).items()
                }
        return {
            path: _region(data, nodes[number])
            for path, number in paths[len(nodes) - 1].items()
            if nodes[number]["kind"] == _FILE
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            f"{where}: expected a folder as ExecuTorch's CoreML delegate stores it ({error!r}); "
            "the file is altered, build or fetch it again"
        ) from error


class _Index:
    """Names and places of files; folders follow what is in them."""

    def __init__(self) -> None:
        self._tree: dict[str, Any] = {}
        self._end = 0

    def add_file(self, path: str, size: int) -> None:
        *folders, name = PurePosixPath(path).parts
        folder = self._tree
        for part in folders:
            folder = folder.setdefault(part, {})
        folder[name] = (self._end, size)
        self._end += size

    def nodes(self, name: str) -> list[dict[str, Any]]:
        """All of it, the folder itself last."""
        nodes: list[dict[str, Any]] = []
        self._add(name, self._tree, nodes)
        return nodes

    def _add(self, name: str, item: Any, nodes: list[dict[str, Any]]) -> int:
        children, offset, size, kind = {}, 0, 0, _FOLDER
        if isinstance(item, dict):
            children = {key: self._add(key, value, nodes) for key, value in item.items()}
        else:
            (offset, size), kind = item, _FILE
        region = {"offset": offset, "size": size}
        nodes.append({"name": name, "kind": kind, "dataRegion": region, "children": children})
        return len(nodes) - 1


@dataclass(frozen=True)
class _Scan:
    """Finds the end of a JSON object that is read from its beginning."""

    text: bytes

    def length(self) -> int:
        depth, quoted, escaped = 0, False, False
        for at, byte in enumerate(self.text):
            character = chr(byte)
            if quoted:
                quoted = escaped or character != '"'
                escaped = character == "\\" and not escaped
            elif character == '"':
                quoted = True
            elif character in "{}":
                depth += 1 if character == "{" else -1
                if depth == 0:
                    return at + 1
        raise ValueError("no object at the end")


def _read_index(data: memoryview) -> list[dict[str, Any]]:
    reversed_end = bytes(data[-_MAX_INDEX_BYTES:])[::-1]
    nodes: list[dict[str, Any]] = json.loads(reversed_end[: _Scan(reversed_end).length()])["nodes"]
    return nodes


def _region(data: memoryview, node: Mapping[str, Any]) -> memoryview:
    offset, size = node["dataRegion"]["offset"], node["dataRegion"]["size"]
    if not 0 <= offset <= offset + size <= len(data):
        raise ValueError(f"{size} bytes at {offset} of {len(data)}")
    return data[offset : offset + size]


def _copy(content: bytes | Path, into: BinaryIO) -> None:
    if isinstance(content, bytes):
        into.write(content)
        return
    with content.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            into.write(piece)
