"""Each kind of section, altered by bytes in a real file, is named with how many differ."""

import json
import shutil
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ptefoundry.lowering.ptd import read_ptd
from ptefoundry.lowering.pte import read_pte
from ptefoundry.rebuild.compare import compare_files, list_files
from ptefoundry.rebuild.difference import Difference, count_different
from ptefoundry.rebuild.elf import elf_regions

GOLDEN = Path(__file__).parents[2] / "golden" / "bundle-v1"
Alter = Callable[[bytearray], None]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A bundle and a copy of it."""
    folders = tmp_path / "expected", tmp_path / "found"
    for folder in folders:
        shutil.copytree(GOLDEN, folder)
    return folders


def _alter(path: Path, alter: Alter) -> None:
    data = bytearray(path.read_bytes())
    alter(data)
    path.write_bytes(data)


def _flip(*places: int) -> Alter:
    def alter(data: bytearray) -> None:
        for place in places:
            data[place] ^= 1

    return alter


def _compare(pair: tuple[Path, Path]) -> list[Difference]:
    expected, found = pair
    return compare_files(expected, found, list_files(expected) | list_files(found))


def _sections(pair: tuple[Path, Path]) -> list[tuple[str, str, int]]:
    return [(one.path, one.section, one.bytes) for one in _compare(pair)]


def _program(pair: tuple[Path, Path]) -> tuple[str, Path]:
    name = sorted(name for name in list_files(pair[0]) if name.endswith(".pte"))[-1]
    return name, pair[1] / name


def test_copies_do_not_differ(pair: tuple[Path, Path]) -> None:
    assert _compare(pair) == []


def test_a_tensor_of_a_data_file_is_named_by_its_key(pair: tuple[Path, Path]) -> None:
    path = pair[1] / "xnnpack" / "foundation.ptd"
    entries = read_ptd(path).entries
    entry = entries[-1]
    keys = ", ".join(one.key for one in entries if one.segment == entry.segment)
    _alter(path, _flip(entry.offset, entry.offset + entry.size - 1))
    (difference,) = _compare(pair)
    assert difference.section == f"tensor {keys}"
    assert difference.bytes == 2
    assert difference.detail == "first at byte 0 of it"
    assert str(difference).startswith(f"xnnpack/foundation.ptd: tensor {keys}: 2 bytes")


def test_the_list_of_a_data_file_is_named(pair: tuple[Path, Path]) -> None:
    path = pair[1] / "xnnpack" / "foundation.ptd"
    entries = read_ptd(path).entries
    segments = Counter(one.segment for one in entries)
    entry = next(one for one in entries if segments[one.segment] == 1)
    _alter(path, _flip(entry.placed_key.at))
    sections = _sections(pair)
    assert ("xnnpack/foundation.ptd", "flatbuffer of the data file", 1) in sections
    assert ("xnnpack/foundation.ptd", f"tensor {entry.key}", entry.size) in sections


def test_a_partition_of_a_method_is_named(pair: tuple[Path, Path]) -> None:
    name, path = _program(pair)
    (method,) = (one for one in read_pte(path).methods if one.delegates)
    delegate = method.delegates[0]
    at = path.read_bytes().index(bytes(delegate.payload))
    _alter(path, _flip(at + delegate.size - 1))
    assert _sections(pair) == [(name, f"method {method.name}: {delegate.backend} partition 0", 1)]


def test_a_matrix_in_a_program_is_named_by_its_key(pair: tuple[Path, Path]) -> None:
    name, path = _program(pair)
    entry = read_pte(path).entries[0]
    _alter(path, _flip(entry.offset + 3))
    assert _sections(pair) == [(name, f"tensor {entry.key}", 1)]


def test_a_metadata_value_of_a_program_is_named(pair: tuple[Path, Path]) -> None:
    name, path = _program(pair)
    (length,) = read_pte(path).constants["get_max_context_len"]
    value = struct.pack("<q", int(length))
    data = path.read_bytes()
    for at in (place for place in range(len(data) - 8) if data[place : place + 8] == value):
        _alter(path, _flip(at))
        if read_pte(path).constants["get_max_context_len"] != (length,):
            break
        _alter(path, _flip(at))
    sections = _sections(pair)
    assert (name, "flatbuffer of the program", 1) in sections
    assert any("method get_max_context_len: constants" in section for _, section, _ in sections)


def test_padding_is_counted_where_no_section_differs(pair: tuple[Path, Path]) -> None:
    name, path = _program(pair)
    path.write_bytes(path.read_bytes() + b"\0\0\0")
    assert _sections(pair) == [(name, "", 3)]


def test_a_file_that_cannot_be_read_is_compared_as_bytes(pair: tuple[Path, Path]) -> None:
    name, path = _program(pair)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2])
    (difference,) = _compare(pair)
    assert (difference.path, difference.section) == (name, "")
    assert difference.bytes == size - size // 2
    assert "its parts cannot be told" in difference.detail


def test_a_field_of_the_manifest_is_named_by_its_path(pair: tuple[Path, Path]) -> None:
    path = pair[1] / "manifest.json"
    manifest = json.loads(path.read_text())
    old = manifest["variants"][0]["adapter"]
    manifest["variants"][0]["adapter"] = "x" * len(old)
    manifest["files"].append({"path": "more"})
    path.write_text(json.dumps(manifest, sort_keys=True, indent=2, ensure_ascii=False) + "\n")
    number = len(manifest["files"]) - 1
    one, other = _compare(pair)
    assert (one.section, one.bytes) == (f"field files[{number}]", len('{"path": "more"}'))
    assert (other.section, other.bytes) == ("field variants[0].adapter", len(old))
    assert other.detail == f'expected "{old}", found "{"x" * len(old)}"'


def test_json_that_is_written_otherwise_differs_as_text(pair: tuple[Path, Path]) -> None:
    path = pair[1] / "manifest.json"
    path.write_bytes(path.read_bytes() + b"\n")
    assert _sections(pair) == [("manifest.json", "field text", 1)]


def test_missing_and_foreign_files_are_told(pair: tuple[Path, Path]) -> None:
    name, path = _program(pair)
    size = path.stat().st_size
    path.unlink()
    (pair[1] / "new.bin").write_bytes(b"1234")
    details = {one.path: (one.detail, one.bytes) for one in _compare(pair)}
    assert details == {name: ("missing", size), "new.bin": ("not expected", 4)}


def _save_safetensors(path: Path, metadata: dict[str, str], values: bytes) -> None:
    header = json.dumps(
        {
            "__metadata__": metadata,
            "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
            "b": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]},
        }
    ).encode()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header + values)


def test_tensors_and_metadata_of_safetensors_are_named(tmp_path: Path) -> None:
    pair = tmp_path / "expected", tmp_path / "found"
    _save_safetensors(pair[0] / "x.safetensors", {"scale": "1"}, b"abcdefgh")
    _save_safetensors(pair[1] / "x.safetensors", {"scale": "2"}, b"abcdeXXh")
    assert _sections(pair) == [
        ("x.safetensors", "metadata scale", 1),
        ("x.safetensors", "tensor b", 2),
    ]


def test_a_section_of_an_executable_is_named(tmp_path: Path) -> None:
    pair = tmp_path / "expected", tmp_path / "found"
    for folder in pair:
        folder.mkdir()
        shutil.copyfile(sys.executable, folder / "program")
    path = pair[1] / "program"
    (text,) = (one for one in elf_regions(path) if one.name == "section .text")
    at = path.read_bytes().index(bytes(text.data[:4096]))
    _alter(path, _flip(at + 1, at + 2, at + 3))
    assert _sections(pair) == [("program", "section .text", 3)]


def test_bytes_are_counted_beyond_one_piece() -> None:
    one = bytes(40_000_000)
    other = bytearray(one)
    other[30_000_000] = other[39_999_999] = 1
    assert count_different(one, bytes(other)) == (2, 30_000_000)
    assert count_different(one, one) == (0, 0)
    assert count_different(one, one[:-5]) == (5, 39_999_995)
