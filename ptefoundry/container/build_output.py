"""What an engine prints while it builds an image, as lines.

Podman sends lines as they are. BuildKit sends its `StatusResponse` (moby/buildkit,
api/services/control/control.proto) in base64; of that, two fields are read:

    StatusResponse: repeated Vertex vertexes = 1; repeated VertexLog logs = 3
    Vertex:         string name = 3; Timestamp started = 5
    VertexLog:      bytes msg = 4
"""

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any

_TRACE = "moby.buildkit.trace"
_VERTEXES, _LOGS = 1, 3
_NAME, _STARTED, _MESSAGE = 3, 5, 4
#: Of protobuf's wire format.
_VARINT, _BYTES = 0, 2


class BuildFailedError(Exception):
    """The engine says that the build failed, and why."""


def build_lines(events: Iterable[bytes]) -> Iterator[str]:
    """Lines of a build; each of its steps begins with one that says `Step: `.

    Args:
        events: JSON objects, as the engine sends them.

    Raises:
        BuildFailedError: the engine says so.
    """
    named: set[str] = set()
    for event in map(json.loads, filter(None, events)):
        if "error" in event:
            raise BuildFailedError(event["error"])
        if event.get("id") == _TRACE:
            yield from _trace_lines(base64.b64decode(event["aux"]), named)
        else:
            yield from _plain_lines(event)


def _plain_lines(event: dict[str, Any]) -> Iterator[str]:
    for line in str(event.get("stream", "")).splitlines():
        yield f"Step: {line}" if line.startswith("STEP ") else line


def _trace_lines(status: bytes, named: set[str]) -> Iterator[str]:
    """`named` are steps that were told; each is sent whenever something of it changes."""
    for number, value in _fields(status):
        if number == _VERTEXES:
            vertex = dict(_fields(value))
            name = vertex.get(_NAME, b"").decode(errors="replace")
            if _STARTED in vertex and name not in named:
                named.add(name)
                yield f"Step: {name}"
        elif number == _LOGS:
            text = dict(_fields(value)).get(_MESSAGE, b"")
            yield from text.decode(errors="replace").splitlines()


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and value of each field that is a text, bytes or a message."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        value, position = _varint(message, position)
        if kind == _BYTES:
            yield number, message[position : position + value]
            position += value
        elif kind != _VARINT:
            return  # None of the fields that are read comes after another kind.


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
