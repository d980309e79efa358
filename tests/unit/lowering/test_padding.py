"""Adapters that are filled up with zeros to the golden template's ranks."""

import shutil
import struct
from pathlib import Path

import pytest

from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.errors import AdapterError, ArtifactError
from ptefoundry.lowering.build import build_adapter, build_foundation
from ptefoundry.lowering.foundation import load_foundation
from ptefoundry.lowering.link import Linker
from ptefoundry.lowering.padding import is_zeros, mark_zeros, pad_matrix
from ptefoundry.lowering.template import load_template
from support import golden_template as golden
from support.golden_template import TEMPLATES, W2, WQ

ADAPTER = TEMPLATES / "adapter"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built")
    build_foundation(golden.write_base(root / "base"), TEMPLATES, root / "foundation")
    return root / "foundation"


def _matrix(rows: int, columns: int, seed: str) -> tuple[str, tuple[int, ...], bytes]:
    return golden.random_tensor((rows, columns), seed)


def test_padding_puts_a_matrix_into_the_corner_of_zeros() -> None:
    data = struct.pack("<6f", 1, 2, 3, 4, 5, 6)
    assert struct.unpack("<12f", pad_matrix(data, (2, 3), (3, 4))) == (
        *(1, 2, 3, 0),
        *(4, 5, 6, 0),
        *(0, 0, 0, 0),
    )
    assert pad_matrix(data, (2, 3), (2, 3)) == data


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_matrices_of_zeros_differ_with_their_shapes(zero: float) -> None:
    data = struct.pack("<12f", *[zero] * 12)
    shapes = ((2, 6), (6, 2), (12, 1), (1, 12), (3, 4))
    marked = {shape: mark_zeros(data, shape) for shape in shapes}
    assert len({*marked.values(), bytes(48)}) == len(shapes) + 1
    for one in marked.values():
        assert struct.unpack("<12f", one) == (0,) * 12


def test_other_matrices_are_not_marked() -> None:
    tiny = struct.unpack("<f", b"\x80\0\0\0")[0]  # of bytes that zeros have, elsewhere
    for number in (1.0, tiny):
        for at in (0, 5, 11):
            data = struct.pack("<12f", *[0.0] * at, number, *[-0.0] * (11 - at))
            assert not is_zeros(data)
            assert mark_zeros(data, (3, 4)) == data


def test_a_smaller_adapter_is_filled_up_with_zeros(built: Path, tmp_path: Path) -> None:
    slots = {slot.source: slot for slot in load_template(ADAPTER).map.of_kind("adapter")}
    shape_a, shape_b = slots[f"{WQ}.lora_a"].shape, slots[f"{WQ}.lora_b"].shape
    lora_a, lora_b = _matrix(3, shape_a[1], "a"), _matrix(shape_b[0], 3, "b")
    tensors = {f"{WQ}.lora_a": lora_a, f"{WQ}.lora_b": lora_b}
    small = load_adapter(golden.write_adapter(tmp_path / "small", tensors, {WQ: 3}))
    linker = Linker(load_template(ADAPTER), load_foundation(built))
    with pytest.raises(AdapterError, match=r"expected rank 8 as in .*found 3"):
        linker.link(small, tmp_path / "small.pte")
    linker.link(small, tmp_path / "small.pte", pad=True)
    program = (tmp_path / "small.pte").read_bytes()

    def stored(name: str) -> bytes:
        slot = slots[name]
        assert slot.data_at is not None
        return program[slot.data_at : slot.data_at + slot.size]

    assert stored(f"{WQ}.lora_a") == lora_a[2] + bytes(5 * shape_a[1] * 4)
    rows = [stored(f"{WQ}.lora_b")[at : at + 32] for at in range(0, shape_b[0] * 32, 32)]
    assert b"".join(row[:12] for row in rows) == lora_b[2]
    assert {row[12:] for row in rows} == {bytes(20)}
    for name in (f"{W2}.lora_a", f"{W2}.lora_b"):
        assert set(struct.unpack(f"<{slots[name].size // 4}f", stored(name))) == {0}


def test_padding_leaves_an_adapter_of_the_template_s_own_signature_alone(
    built: Path, tmp_path: Path
) -> None:
    adapter = load_adapter(golden.write_adapter(tmp_path / "red"))
    linker = Linker(load_template(ADAPTER), load_foundation(built))
    linker.link(adapter, tmp_path / "padded.pte", pad=True)
    linker.link(adapter, tmp_path / "plain.pte")
    assert (tmp_path / "padded.pte").read_bytes() == (tmp_path / "plain.pte").read_bytes()


@pytest.mark.parametrize("modules", [{WQ: 9, W2: 2}, {WQ: 8, W2: 2, "layers.0.attention.wk": 1}])
def test_a_larger_adapter_is_not_padded(
    built: Path, tmp_path: Path, modules: dict[str, int]
) -> None:
    larger = load_adapter(golden.write_adapter(tmp_path / "larger", modules=modules))
    linker = Linker(load_template(ADAPTER), load_foundation(built))
    with pytest.raises(AdapterError, match=r"expected rank . at most as in"):
        linker.link(larger, tmp_path / "larger.pte", pad=True)
    assert not (tmp_path / "larger.pte").exists()


def test_matrices_of_another_rank_than_the_adapter_states_are_refused(
    built: Path, tmp_path: Path
) -> None:
    adapter = load_adapter(golden.write_adapter(tmp_path / "odd", modules={WQ: 4, W2: 2}))
    linker = Linker(load_template(ADAPTER), load_foundation(built))
    with pytest.raises(AdapterError, match="convert the adapter again"):
        linker.link(adapter, tmp_path / "odd.pte", pad=True)


def test_the_shared_template_is_the_only_one(built: Path, tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    shutil.copytree(TEMPLATES / "base", templates / "base")
    adapter = golden.write_adapter(tmp_path / "red")
    with pytest.raises(ArtifactError, match="expected one template for all adapters, found 0"):
        build_adapter(adapter, templates, built, tmp_path / "red.pte", shared=True)
    shutil.copytree(ADAPTER, templates / "one")
    build_adapter(adapter, templates, built, tmp_path / "red.pte", shared=True)
    shutil.copytree(ADAPTER, templates / "two")
    with pytest.raises(ArtifactError, match="expected one template for all adapters, found 2"):
        build_adapter(adapter, templates, built, tmp_path / "red.pte", shared=True)
