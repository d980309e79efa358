"""Programs that read back as they must not: damaged ones, and a foundation of another build."""

import dataclasses
from pathlib import Path

import pytest

from ptefoundry.errors import VerificationError
from ptefoundry.lowering.ptd import DataFile, read_ptd
from ptefoundry.lowering.pte import read_pte
from ptefoundry.lowering.readback import check_program

GOLDEN = Path(__file__).parents[2] / "golden" / "bundle-v1" / "xnnpack"
RED = GOLDEN / "red.pte"


@pytest.fixture
def foundation() -> DataFile:
    return read_ptd(GOLDEN / "foundation.ptd")


def _renamed(folder: Path, old: bytes, new: bytes) -> Path:
    """The golden program with another name in place of one of its methods'."""
    data = RED.read_bytes()
    assert len(old) == len(new)
    # FlatBuffers' strings have their length before them and a zero behind.
    old, new = (len(name).to_bytes(4, "little") + name + b"\0" for name in (old, new))
    assert data.count(old) == 1
    (folder / "red.pte").write_bytes(data.replace(old, new))
    return folder / "red.pte"


def test_the_program_is_returned(foundation: DataFile) -> None:
    program = check_program(RED, foundation)
    assert program.path == RED
    assert program.needs == foundation.keys


def test_another_method_is_refused(foundation: DataFile, tmp_path: Path) -> None:
    path = _renamed(tmp_path, b"forward", b"forwart")
    with pytest.raises(VerificationError, match="expected the one method forward, found forwart;"):
        check_program(path, foundation)


@pytest.mark.parametrize(
    "name", ["get_max_context_len", "get_max_seq_len", "get_vocab_size", "get_eos_ids"]
)
def test_missing_metadata_is_refused(foundation: DataFile, tmp_path: Path, name: str) -> None:
    path = _renamed(tmp_path, name.encode(), name.upper().encode())
    with pytest.raises(VerificationError, match=f"expected the metadata .*, missing: {name};"):
        check_program(path, foundation)


def test_other_ends_of_answers_are_refused(foundation: DataFile) -> None:
    found = read_pte(RED).constants["get_eos_ids"]
    check_program(RED, foundation, eos_ids=tuple(int(number) for number in found))
    with pytest.raises(VerificationError, match=r"get_eos_ids: expected \(1, 2\), found"):
        check_program(RED, foundation, eos_ids=(1, 2))


def test_a_foundation_that_lacks_a_tensor_is_refused(foundation: DataFile) -> None:
    lost = foundation.entries[2].key
    entries = (*foundation.entries[:2], *foundation.entries[3:])
    with pytest.raises(
        VerificationError, match=rf"needs 1 tensors that .*foundation\.ptd does not have .{lost}."
    ):
        check_program(RED, dataclasses.replace(foundation, entries=entries))


def test_a_key_that_both_files_have_is_refused(foundation: DataFile) -> None:
    own = read_pte(RED).entries[0]
    entries = (*foundation.entries, own)
    with pytest.raises(
        VerificationError, match=rf"does not have, found 1 in both .{own.key}.; an adapter matrix"
    ):
        check_program(RED, dataclasses.replace(foundation, entries=entries))
