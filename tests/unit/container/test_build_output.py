import base64
import json
from typing import Any

import pytest

from ptefoundry.container.build_output import BuildFailedError, build_lines


def _field(number: int, value: bytes) -> bytes:
    assert len(value) < 0x4000
    length = bytes([len(value) & 0x7F | 0x80, len(value) >> 7])
    return bytes([number << 3 | 2]) + length + value


def _vertex(name: str, *, started: bool) -> bytes:
    time = _field(5, b"\x08\x01") if started else b""
    return _field(1, _field(1, b"sha256:aa") + _field(3, name.encode()) + b"\x20\x01" + time)


def _log(text: str) -> bytes:
    return _field(3, _field(1, b"sha256:aa") + b"\x18\x02" + _field(4, text.encode()))


def _event(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def _trace(*parts: bytes) -> bytes:
    aux = base64.b64encode(b"".join(parts)).decode()
    return _event(id="moby.buildkit.trace", aux=aux)


def test_steps_of_buildkit_are_told_once_when_they_start() -> None:
    events = [
        _trace(_vertex("[1/2] FROM base", started=True), _vertex("[2/2] RUN x", started=False)),
        _trace(_vertex("[1/2] FROM base", started=True)),
        b"",
        _trace(_vertex("[2/2] RUN x", started=True), _log("one\ntwo\n" + "é" * 100)),
    ]
    assert list(build_lines(events)) == [
        "Step: [1/2] FROM base",
        "Step: [2/2] RUN x",
        "one",
        "two",
        "é" * 100,
    ]


def test_lines_of_podman() -> None:
    events = [_event(stream="STEP 1/2: FROM base\n"), _event(stream="one\n"), _event(aux={})]
    assert list(build_lines(events)) == ["Step: STEP 1/2: FROM base", "one"]


def test_failure_is_raised_after_the_lines_before_it() -> None:
    lines = build_lines([_event(stream="one\n"), _event(error="exit code: 1", errorDetail={})])
    assert next(lines) == "one"
    with pytest.raises(BuildFailedError, match="exit code: 1"):
        next(lines)
