import io
import tarfile
from collections.abc import Iterator
from typing import IO, cast

import pytest

from ptefoundry.container.content import ChunkReader, content_digest

ENVIRONMENT = ["PATH=/bin", "LANG=C.UTF-8"]


def _file(name: str, content: bytes = b"x", **fields: int) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size, member.mtime = len(content), 1_767_225_600
    for field, value in fields.items():
        setattr(member, field, value)
    return member, content


def _link(name: str, kind: bytes, target: str) -> tuple[tarfile.TarInfo, bytes]:
    member, _ = _file(name, b"")
    member.type, member.linkname = kind, target
    return member, b""


def _digest(*members: tuple[tarfile.TarInfo, bytes], environment: list[str] = ENVIRONMENT) -> str:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    stream.seek(0)
    return content_digest(stream, environment)


def test_order_and_layout_of_the_archive_do_not_count() -> None:
    one, other = _file("a"), _file("usr/b", b"longer")
    assert _digest(one, other) == _digest(other, one)


@pytest.mark.parametrize(
    "changed",
    [
        _file("usr/c"),
        _file("usr/b", b"other"),
        _file("usr/b", mode=0o755),
        _file("usr/b", uid=1),
        _file("usr/b", gid=1),
        _file("usr/b", mtime=1_767_225_601),
        _link("usr/b", tarfile.SYMTYPE, "a"),
        _link("usr/b", tarfile.DIRTYPE, ""),
    ],
)
def test_whatever_a_process_can_see_counts(changed: tuple[tarfile.TarInfo, bytes]) -> None:
    assert _digest(_file("a"), changed) != _digest(_file("a"), _file("usr/b"))


def test_target_of_a_symbolic_link_counts() -> None:
    assert _digest(_link("b", tarfile.SYMTYPE, "a")) != _digest(_link("b", tarfile.SYMTYPE, "c"))


def test_which_name_of_a_file_is_the_link_does_not_count() -> None:
    """Engines list the names of a file in any order."""
    first = _digest(_file("a"), _link("b", tarfile.LNKTYPE, "a"))
    assert first == _digest(_file("b"), _link("a", tarfile.LNKTYPE, "b"))
    assert first == _digest(_file("a"), _file("b"))


def test_the_environment_counts_but_not_its_order() -> None:
    assert _digest(_file("a")) == _digest(_file("a"), environment=ENVIRONMENT[::-1])
    assert _digest(_file("a")) != _digest(_file("a"), environment=["PATH=/usr/bin"])


def test_what_engines_add_does_not_count() -> None:
    plain = _digest(_file("etc/passwd"))
    added = [_file(".dockerenv", b""), _file("etc/hosts"), _file("dev/console"), _file("proc/1")]
    assert _digest(_file("etc/passwd"), *added) == plain
    assert _digest(_file("etc/passwd"), _file("etc/shadow")) != plain
    folder = _link("etc", tarfile.DIRTYPE, "")
    touched = _link("etc", tarfile.DIRTYPE, "")
    touched[0].mtime += 1
    assert _digest(folder) == _digest(touched)


@pytest.mark.parametrize("sizes", [[1] * 7, [7], [3, 4], [0, 5, 0, 2]])
def test_pieces_are_read_as_one_file(sizes: list[int]) -> None:
    def pieces() -> Iterator[bytes]:
        position = 0
        for size in sizes:
            # The client's iterators never yield nothing before their end.
            if size:
                yield b"abcdefg"[position : position + size]
            position += size

    reader = cast("IO[bytes]", ChunkReader(pieces()))
    assert [reader.read(2), reader.read(4), reader.read(9), reader.read(1)] == [
        b"ab",
        b"cdef",
        b"g",
        b"",
    ]
