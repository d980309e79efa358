import io
from pathlib import Path

import pytest

from ptefoundry.coreml.flat_folder import read_flat_folder, write_flat_folder
from ptefoundry.errors import ArtifactError


def _flatten(files: dict[str, bytes | Path]) -> bytes:
    into = io.BytesIO()
    write_flat_folder("root", files, into)
    return into.getvalue()


def test_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(bytes(range(256)) * 9)
    flat = _flatten({"m.json": b"{}}{", "a/b/weights": path, "a/x": b"\x00"})
    files = read_flat_folder(memoryview(flat), "flat")
    assert {name: bytes(data) for name, data in files.items()} == {
        "m.json": b"{}}{",
        "a/b/weights": path.read_bytes(),
        "a/x": b"\x00",
    }


def test_the_order_is_that_of_the_files() -> None:
    one, two = {"a": b"1", "b": b"2"}, {"b": b"2", "a": b"1"}
    assert _flatten(one).startswith(b"12")
    assert _flatten(two).startswith(b"21")


@pytest.mark.parametrize(
    "damaged", [b"", b"no index", b"1" + b'{"nodes":[]}'[::-1], b'{"nodes":[{}]}'[::-1]]
)
def test_damage_is_refused(damaged: bytes) -> None:
    with pytest.raises(ArtifactError, match="flat: expected a folder"):
        read_flat_folder(memoryview(damaged), "flat")


def test_every_cut_is_refused() -> None:
    flat = _flatten({"a": b"12345678", "b/c": b"9"})
    for end in range(len(flat)):
        with pytest.raises(ArtifactError):
            read_flat_folder(memoryview(flat)[:end], "flat")
