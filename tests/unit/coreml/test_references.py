import pytest

from ptefoundry.coreml.references import Reference, parse_reference
from ptefoundry.errors import ArtifactError


def test_a_reference_is_read_as_it_was_written() -> None:
    reference = Reference(key="coreml_x", function="red_forward")
    assert parse_reference(reference.to_bytes(), "p.pte: red") == reference


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (b"XH00", "found a payload that begins with b'XH00'"),
        (b"CMJR[", "JSONDecodeError"),
        (b'CMJR{"version": 1}', "KeyError"),
        (b'CMJR{"version": 2, "key": "k", "functionName": "f"}', "expected 1, found 2"),
    ],
)
def test_others_are_refused(payload: bytes, named: str) -> None:
    with pytest.raises(ArtifactError, match=r"p\.pte: red: ") as caught:
        parse_reference(payload, "p.pte: red")
    assert named in str(caught.value)
