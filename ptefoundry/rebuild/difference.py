"""What two files that should be equal differ in."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_CHUNK_BYTES = 1 << 24

Bytes = bytes | memoryview


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One part of a file, or a whole one."""

    path: str
    """The file, relative, with forward slashes."""
    section: str
    """Part of the file, for instance `tensor <key>`; empty for the whole file."""
    bytes: int
    """How many bytes differ; those that only one side has count."""
    detail: str
    """What was expected and found, as far as it can be told in a few words."""

    def __str__(self) -> str:
        """As one line."""
        where = f"{self.path}: {self.section}" if self.section else self.path
        return f"{where}: {self.bytes:,} bytes differ ({self.detail})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Region:
    """A named part of a file."""

    name: str
    data: Bytes


def compare_regions(
    path: str, expected: Sequence[Region], found: Sequence[Region]
) -> Iterator[Difference]:
    """Differences between the regions of two files, which are matched by name."""
    theirs, ours = ({one.name: one.data for one in side} for side in (expected, found))
    for name in dict.fromkeys((*theirs, *ours)):
        if name not in ours or name not in theirs:
            data, detail = (theirs[name], "missing") if name in theirs else (ours[name], "extra")
            yield Difference(path=path, section=name, bytes=len(data), detail=detail)
        elif difference := compare_bytes(path, name, theirs[name], ours[name]):
            yield difference


def compare_bytes(path: str, section: str, expected: Bytes, found: Bytes) -> Difference | None:
    """The difference between two byte strings; None if they are equal."""
    count, first = count_different(expected, found)
    if not count:
        return None
    detail = f"first at byte {first} of it"
    if len(expected) != len(found):
        detail = f"expected {len(expected):,} bytes, found {len(found):,}; {detail}"
    return Difference(path=path, section=section, bytes=count, detail=detail)


def count_different(one: Bytes, other: Bytes) -> tuple[int, int]:
    """(number of bytes that differ, offset of the first), (0, 0) for equal ones.

    Compared place by place: behind an inserted byte nearly all differ.
    """
    import numpy as np

    shorter = min(len(one), len(other))
    count, first = abs(len(one) - len(other)), shorter
    for start in range(0, shorter, _CHUNK_BYTES):
        end = min(start + _CHUNK_BYTES, shorter)
        left, right = (np.frombuffer(data[start:end], np.uint8) for data in (one, other))
        (places,) = np.nonzero(left != right)
        if len(places):
            first = min(first, start + int(places[0]))
            count += len(places)
    return (count, first) if count else (0, 0)
