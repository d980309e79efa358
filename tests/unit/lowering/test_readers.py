"""The readers of .pte and .ptd on the golden bundle, and on damaged copies of it."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptefoundry.errors import ArtifactError, VerificationError
from ptefoundry.lowering.ptd import read_ptd
from ptefoundry.lowering.pte import read_pte
from ptefoundry.lowering.readback import check_foundation, check_program

GOLDEN = Path(__file__).parents[2] / "golden" / "bundle-v1" / "xnnpack"
FOUNDATION, BASE, RED = (GOLDEN / name for name in ("foundation.ptd", "base.pte", "red.pte"))
READERS: dict[str, Callable[[Path], Any]] = {".pte": read_pte, ".ptd": read_ptd}


def test_program_of_the_base() -> None:
    program = read_pte(BASE)
    assert program.size == BASE.stat().st_size
    assert program.entry_points == ("forward",)
    assert program.constants["get_max_context_len"] == (64,)
    assert program.constants["get_max_seq_len"] == (32,)
    assert program.constants["enable_dynamic_shape"] == (True,)
    assert program.entries == ()
    forward = next(method for method in program.methods if method.name == "forward")
    assert {"llama::custom_sdpa.out", "llama::update_cache.out"} <= set(forward.operators)
    assert {delegate.backend for delegate in forward.delegates} == {"XnnpackBackend"}
    assert forward.planned_bytes > 2 * 2 * 64 * 2 * 16 * 4  # the caches of two layers


def test_program_of_an_adapter_holds_its_matrices() -> None:
    program = read_pte(RED)
    assert len(program.entries) == 28
    # fp32, rank 4: A [4, in] and B [out, 4] of seven linears in two layers.
    shapes = [(64, 64), (32, 64), (32, 64), (64, 64), (128, 64), (128, 64), (64, 128)]
    assert sum(entry.size for entry in program.entries) == 2 * 4 * 4 * sum(map(sum, shapes))
    assert all(entry.key == entry.digest for entry in program.entries)


def test_foundation_is_complete_and_has_nothing_else() -> None:
    foundation = read_ptd(FOUNDATION)
    assert read_pte(BASE).needs == read_pte(RED).needs == foundation.keys
    names = {key for key in foundation.keys if "." in key}
    assert "layers.0.attention_norm.weight" in names


def test_golden_programs_pass_the_checks_of_a_build() -> None:
    for program in (BASE, RED):
        check_program(program, read_ptd(FOUNDATION))
    check_foundation(FOUNDATION)


def test_identity_depends_on_contents_only(tmp_path: Path) -> None:
    first = read_ptd(FOUNDATION)
    assert first.identity == read_ptd(FOUNDATION).identity
    altered = _altered(tmp_path, FOUNDATION, FOUNDATION.stat().st_size - 100)
    assert read_ptd(altered).identity != first.identity


def _altered(folder: Path, source: Path, at: int) -> Path:
    data = bytearray(source.read_bytes())
    data[at] ^= 1
    path = folder / source.name
    path.write_bytes(data)
    return path


def test_a_flipped_weight_is_found_by_its_key(tmp_path: Path) -> None:
    entry = read_pte(RED).entries[3]
    data = RED.read_bytes()
    at = next(
        index
        for index in range(0, len(data) - entry.size, 16)
        if _is_at(data, index, entry.size, entry.digest)
    )
    with pytest.raises(VerificationError, match="expected bytes with the sha256"):
        check_program(_altered(tmp_path, RED, at + 5), read_ptd(FOUNDATION))


def _is_at(data: bytes, at: int, size: int, digest: str) -> bool:
    from ptefoundry.digest import hash_bytes

    return hash_bytes(data[at : at + size]) == digest


def test_a_flipped_weight_of_the_foundation_is_found_by_its_key(tmp_path: Path) -> None:
    # The last segment belongs to a key by content.
    with pytest.raises(VerificationError, match="others for 1 keys"):
        check_foundation(_altered(tmp_path, FOUNDATION, FOUNDATION.stat().st_size - 100))


@pytest.mark.parametrize("source", [FOUNDATION, RED], ids=["ptd", "pte"])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 12, 40, 64, 1000, -1, -5000])
def test_cut_files_are_refused(tmp_path: Path, source: Path, size: int) -> None:
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes()[:size])
    with pytest.raises(ArtifactError, match=source.name.replace(".", r"\.")):
        READERS[source.suffix](path)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_foreign_and_missing_files_are_refused(
    tmp_path: Path, reader: Callable[[Path], Any]
) -> None:
    path = tmp_path / "file"
    with pytest.raises(ArtifactError, match="expected a file, found none"):
        reader(path)
    path.write_bytes(b"PK\x03\x04" * 100)
    with pytest.raises(ArtifactError, match="expected an ExecuTorch"):
        reader(path)


@pytest.mark.parametrize("source", [FOUNDATION, RED, BASE], ids=lambda path: path.name)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_never_ends_in_another_error(
    tmp_path_factory: pytest.TempPathFactory, source: Path, data: st.DataObject
) -> None:
    """Any change of the header and tables is read as something else or refused."""
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, min(len(content), 20_000) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damage") / source.name
    path.write_bytes(content)
    with contextlib.suppress(ArtifactError):
        found = READERS[source.suffix](path)
        assert found.size == len(content)
        assert all(entry.digest for entry in found.entries)
