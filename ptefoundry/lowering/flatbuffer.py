"""Reading FlatBuffers tables without trusting them and without generated code.

Covers what the ExecuTorch schemas use: scalars, strings, tables and vectors of
these. Every access is checked against the buffer, so that a cut or altered
file raises `ArtifactError` instead of returning something. Fields are asked
for by their number in the schema, as the format's binary layout defines them
(FlatBuffers "Internals": vtables, offsets).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ptefoundry.errors import ArtifactError

_INTEGERS = {code: struct.Struct("<" + code) for code in "bBHiIqQd"}


@dataclass(frozen=True)
class Buffer:
    """Bytes of one FlatBuffer and the name that errors give it."""

    data: memoryview
    name: str
    start: int = 0
    """Where in the file the bytes begin; other offsets here count from it."""

    def number(self, code: str, at: int) -> int:
        """The little-endian integer of struct code `code` at a byte offset."""
        try:
            value: int = _INTEGERS[code].unpack_from(self.data, at)[0]
        except struct.error as error:
            raise ArtifactError(
                f"{self.name}: expected a value at byte {at}, found the end at {len(self.data)}; "
                "the file is cut or altered, build or fetch it again"
            ) from error
        return value

    def slice(self, at: int, size: int) -> memoryview:
        """`size` bytes from a byte offset."""
        if at < 0 or at + size > len(self.data):
            raise ArtifactError(
                f"{self.name}: expected {size} bytes at {at}, found the end at {len(self.data)}; "
                "the file is cut or altered, build or fetch it again"
            )
        return self.data[at : at + size]

    def text(self, at: int, size: int) -> str:
        """`size` bytes of UTF-8 from a byte offset."""
        try:
            return str(self.slice(at, size), "utf-8")
        except UnicodeDecodeError as error:
            raise ArtifactError(
                f"{self.name}: expected UTF-8 text at byte {at}, found other bytes; "
                "the file is altered, build or fetch it again"
            ) from error

    def root(self) -> "Table":
        """The root table."""
        return Table(self, self.number("I", 0))


@dataclass(frozen=True)
class Table:
    """One table; `at` is its byte offset."""

    buffer: Buffer
    at: int

    @cached_property
    def _vtable(self) -> tuple[int, int]:
        """Byte offset and size of the table of fields."""
        at = self.at - self.buffer.number("i", self.at)
        return at, self.buffer.number("H", at)

    def _field(self, number: int) -> int | None:
        """Byte offset of a field, None where it has its default."""
        vtable, size = self._vtable
        slot = 4 + 2 * number
        if slot >= size:
            return None
        offset = self.buffer.number("H", vtable + slot)
        return self.at + offset if offset else None

    def integer(self, number: int, code: str, default: int = 0) -> int:
        """A scalar field of struct code `code`."""
        field = self._field(number)
        return default if field is None else self.buffer.number(code, field)

    def scalar_at(self, number: int) -> int | None:
        """Byte offset in the file of a scalar field, None where it has its default."""
        field = self._field(number)
        return None if field is None else self.buffer.start + field

    def _target(self, number: int) -> int | None:
        field = self._field(number)
        return None if field is None else field + self.buffer.number("I", field)

    def table(self, number: int) -> "Table | None":
        """A field that is a table, or the value of a union."""
        target = self._target(number)
        return None if target is None else Table(self.buffer, target)

    def string(self, number: int) -> str:
        """A field that is a string; empty where absent."""
        at = self.string_at(number)
        return "" if at is None else self.buffer.text(*at)

    def string_at(self, number: int) -> tuple[int, int] | None:
        """Byte offset and size of a string field's text, None where absent."""
        target = self._target(number)
        return None if target is None else (target + 4, self.buffer.number("I", target))

    def vector_size(self, number: int) -> int:
        """How many elements a vector field has."""
        target = self._target(number)
        return 0 if target is None else self.buffer.number("I", target)

    def tables(self, number: int) -> Iterator["Table"]:
        """The elements of a vector of tables."""
        target = self._target(number)
        for index in range(self.vector_size(number)):
            assert target is not None
            at = target + 4 + 4 * index
            yield Table(self.buffer, at + self.buffer.number("I", at))

    def integers(self, number: int, code: str) -> list[int]:
        """The elements of a vector of scalars of struct code `code`."""
        target = self._target(number)
        if target is None:
            return []
        size = struct.calcsize(code)
        count = self.buffer.number("I", target)
        self.buffer.slice(target + 4, count * size)
        return [self.buffer.number(code, target + 4 + size * index) for index in range(count)]
