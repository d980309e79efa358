import io

import pytest

from ptefoundry.coreml.weight_file import WeightBlob, WeightReader, WeightWriter
from ptefoundry.errors import ArtifactError


def _blob(data: bytes, dtype: int = 1, padding: int = 0) -> WeightBlob:
    return WeightBlob(dtype, padding, memoryview(data))


def _write(*blobs: WeightBlob) -> tuple[bytes, list[int]]:
    file = io.BytesIO()
    writer = WeightWriter(file)
    offsets = [writer.add(blob) for blob in blobs]
    writer.finish()
    return file.getvalue(), offsets


def test_blobs_are_read_as_they_were_written() -> None:
    blobs = [_blob(b"a" * 100), _blob(b"b"), _blob(b"c" * 64, dtype=7, padding=4)]
    data, offsets = _write(*blobs)
    reader = WeightReader(memoryview(data), "weights")
    assert list(reader.offsets()) == offsets
    assert [reader.blob(offset) for offset in offsets] == blobs
    assert all(offset % 64 == 0 for offset in offsets)


def test_equal_blobs_are_stored_once() -> None:
    data, offsets = _write(_blob(b"same"), _blob(b"other"), _blob(b"same"))
    assert offsets[0] == offsets[2] != offsets[1]
    assert WeightReader(memoryview(data), "weights").count == 2


def test_blobs_of_other_types_are_not_equal() -> None:
    _, offsets = _write(_blob(b"same"), _blob(b"same", dtype=2), _blob(b"same", padding=4))
    assert len({*offsets}) == 3


def test_damage_is_refused() -> None:
    data, (offset,) = _write(_blob(b"x" * 200))
    with pytest.raises(ArtifactError, match="expected a Core ML weight file with 64 bytes"):
        WeightReader(memoryview(data)[:10], "weights")
    with pytest.raises(ArtifactError, match="version 2, found version 0"):
        WeightReader(memoryview(bytes(64)), "weights")
    with pytest.raises(ArtifactError, match="a blob at byte 128, found other bytes"):
        WeightReader(memoryview(data), "weights").blob(offset + 64)
    with pytest.raises(ArtifactError, match="200 bytes at 128, found the end"):
        WeightReader(memoryview(data)[:300], "weights").blob(offset)
