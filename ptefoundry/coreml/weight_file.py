"""Core ML's weight files: reading their blobs, and writing each blob once.

The format (MILBlob storage, version 2, of coremltools): a header of 64 bytes with the number
of blobs and the version, then for each blob 64 bytes of metadata and its data, both
aligned to 64 bytes. A model names a blob by the offset of its metadata.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ptefoundry.digest import hash_bytes
from ptefoundry.errors import ArtifactError

ALIGNMENT = 64
_VERSION = 2
_SENTINEL = 0xDEADBEEF
_HEADER = struct.Struct("<II56x")  # blobs, version
_METADATA = struct.Struct("<IIQQQ32x")  # sentinel, dtype, bytes, offset of data, bits of padding


@dataclass(frozen=True)
class WeightBlob:
    """Constant data of a model."""

    dtype: int
    """MILBlob's number."""
    padding_bits: int
    """Bits of the last byte that are no data, for types narrower than a byte."""
    data: memoryview


class WeightReader:
    """A weight file in memory or mapped."""

    def __init__(self, data: memoryview, where: str) -> None:
        """Check the header.

        Raises:
            ArtifactError: it is no weight file; `where` is what errors call it.
        """
        self._data, self._where = data, where
        count, version = self._unpack(_HEADER, 0)
        if version != _VERSION:
            raise self._broken(f"version {_VERSION}", f"version {version}")
        self.count: int = count
        """Number of blobs."""
        self.size = len(data)
        """Bytes of the file."""

    def blob(self, offset: int) -> WeightBlob:
        """The blob whose metadata is at a byte offset.

        Raises:
            ArtifactError: there is none.
        """
        sentinel, dtype, size, start, padding = self._unpack(_METADATA, offset)
        if sentinel != _SENTINEL:
            raise self._broken(f"a blob at byte {offset}", "other bytes")
        if start + size > len(self._data):
            raise self._broken(
                f"{size} bytes at {start}", f"the end of the file at {len(self._data)}"
            )
        return WeightBlob(dtype, padding, self._data[start : start + size])

    def offsets(self) -> Iterator[int]:
        """Where the metadata of all blobs is, in order.

        Raises:
            ArtifactError: they do not follow each other as the header says.
        """
        at = _HEADER.size
        for _ in range(self.count):
            yield at
            at = _align(at + _METADATA.size + len(self.blob(at).data))

    def _unpack(self, format_: struct.Struct, at: int) -> tuple[int, ...]:
        try:
            return format_.unpack_from(self._data, at)
        except struct.error as error:
            raise self._broken(
                f"{format_.size} bytes at {at}", f"the end of the file at {len(self._data)}"
            ) from error

    def _broken(self, expected: str, found: str) -> ArtifactError:
        return ArtifactError(
            f"{self._where}: expected a Core ML weight file with {expected}, found {found}; "
            "it is altered or of a newer format, build it again"
        )


class WeightWriter:
    """Writes blobs of several models into one file; equal ones are one.

    `finish` must be called at the end.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at = file, _HEADER.size
        self._offsets: dict[tuple[int, int, str], int] = {}
        file.write(bytes(_HEADER.size))

    def add(self, blob: WeightBlob) -> int:
        """Write a blob unless it is there; returns the offset to name it by."""
        key = (blob.dtype, blob.padding_bits, hash_bytes(blob.data))
        if key not in self._offsets:
            self._offsets[key] = self._write(blob)
        return self._offsets[key]

    def finish(self) -> None:
        """Write the header."""
        self._file.seek(0)
        self._file.write(_HEADER.pack(len(self._offsets), _VERSION))
        self._file.seek(self._at)

    def _write(self, blob: WeightBlob) -> int:
        size, at = len(blob.data), self._at
        start = at + _METADATA.size
        self._file.write(_METADATA.pack(_SENTINEL, blob.dtype, size, start, blob.padding_bits))
        self._file.write(blob.data)
        self._at = _align(start + size)
        self._file.write(bytes(self._at - start - size))
        return at


def _align(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT
