"""Documents of a registry are taken or refused, never anything else, and none for another."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptefoundry.digest import canonical_json
from support.hostile import make_targets, survives, valid_documents
from support.packed import pack

DOCUMENTS = pack()
TARGETS = make_targets(DOCUMENTS)
VALID = valid_documents(DOCUMENTS)

_KEYS = st.sampled_from(
    sorted({key for data in VALID.values() for key in json.loads(data)} | {"subject", "size", ""})
)
_TEXTS = st.one_of(
    st.text(),
    _KEYS,
    st.sampled_from(
        ["../x", "/etc/passwd", "C:\\x", "a\0b", "con", "\ud800", "\u202e", "sha256:", "1e9", "-1"]
    ),
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**50, 2**50 + 1, 2**63, 10**4000, -0.0, 1e308, 1e-9]),
    st.floats(),
    _TEXTS,
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=8,
)
MANY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


each_kind = pytest.mark.parametrize("kind", sorted(TARGETS))


@st.composite
def altered(draw: st.DrawFn, document: bytes) -> bytes:
    """A valid document with one to three changes somewhere inside."""
    value = json.loads(document)
    for _ in range(draw(st.integers(1, 3))):
        value = _alter(draw, value)
    write = draw(st.sampled_from([canonical_json, lambda item: json.dumps(item).encode()]))
    try:
        return write(value)
    except (ValueError, RecursionError):
        return json.dumps(value).encode()


def _alter(draw: st.DrawFn, value: Any) -> Any:
    """Replace, remove, double or rename a part, at any depth."""
    if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 9)) == 0:
        return draw(_VALUES)
    if isinstance(value, list):
        at = draw(st.integers(0, len(value) - 1))
        part = [[], [value[at]] * 2, [_alter(draw, value[at])]][draw(st.integers(0, 2))]
        return [*value[:at], *part, *value[at + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    action = draw(st.integers(0, 5))
    rest = {name: item for name, item in value.items() if name != key}
    if action == 0:
        return rest
    if action == 1:
        return rest | {draw(_TEXTS): value[key]}
    return rest | {key: _alter(draw, value[key])}


@each_kind
def test_valid_documents_are_taken(kind: str) -> None:
    assert survives(TARGETS[kind], VALID[kind])


@each_kind
@given(data=st.data())
@MANY
def test_altered_documents(kind: str, data: st.DataObject) -> None:
    survives(TARGETS[kind], data.draw(altered(VALID[kind])))


@each_kind
@given(data=st.data())
@MANY
def test_altered_bytes(kind: str, data: st.DataObject) -> None:
    document = bytearray(VALID[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(document) - 1))
        document[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    survives(TARGETS[kind], bytes(document))


@each_kind
@given(value=_VALUES)
@MANY
def test_any_json(kind: str, value: Any) -> None:
    survives(TARGETS[kind], json.dumps(value).encode())


@each_kind
@given(data=st.binary())
@MANY
def test_any_bytes(kind: str, data: bytes) -> None:
    survives(TARGETS[kind], data)


def test_a_layer_of_more_bytes_than_are_said_is_refused() -> None:
    document = json.loads(VALID["attached manifest"])
    document["layers"][0]["size"] -= 1
    assert not survives(TARGETS["attached manifest"], canonical_json(document))


def _nested(depth: int) -> bytes:
    return b'{"annotations":' * depth + b"{}" + b"}" * depth


@each_kind
@pytest.mark.parametrize(
    "data",
    [
        _nested(40),
        _nested(900),
        _nested(100_000),
        b"[" * 100_000,
        b'{"a":1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":1,"a":2}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32"),
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b"",
        b"null",
        b'"' + b"x" * (9 << 20) + b'"',
    ],
    ids=lambda data: f"{data[:16]!r} of {len(data)}",
)
def test_json_that_is_no_document(kind: str, data: bytes) -> None:
    assert not survives(TARGETS[kind], data)


def test_a_target_that_raises_anything_else_is_found() -> None:
    def careless(data: bytes) -> Any:
        return json.loads(data)["manifests"][0]

    with pytest.raises(KeyError):
        survives(careless, b"{}")


def _targets_of(*kinds: str) -> list[Callable[[bytes], Any]]:
    return [TARGETS[kind] for kind in kinds]


def test_unknown_fields_and_annotations_are_ignored() -> None:
    """What newer writers add must not stop older readers; only listings are closed."""
    index = json.loads(DOCUMENTS.index)
    index["new"] = {"any": [1]}
    index["annotations"]["org.example.new"] = "x"
    index["manifests"][0]["annotations"]["org.ptefoundry.new"] = "x"
    manifest = json.loads(DOCUMENTS.manifest)
    manifest["new"] = 1
    manifest["layers"][0]["annotations"]["org.example.new"] = "x"
    manifest["layers"][0]["urls"] = ["https://example.org"]
    for target in _targets_of("oci index", "version"):
        assert survives(target, canonical_json(index))
    for target in _targets_of("oci manifest", "variant"):
        assert survives(target, canonical_json(manifest))
    listing = json.loads(DOCUMENTS.listing) | {"new": 1}
    assert not survives(TARGETS["listing"], canonical_json(listing))
