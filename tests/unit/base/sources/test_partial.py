from collections.abc import Iterator
from pathlib import Path

import pytest

from ptefoundry.base.sources.partial import Partial


def nothing(_count: int) -> None:
    """Advance no progress."""


@pytest.fixture
def partial(tmp_path: Path) -> Partial:
    return Partial(tmp_path, "original/model.gguf")


def test_new_download_starts_at_nothing(partial: Partial) -> None:
    assert partial.resume_point() == (0, "")
    assert partial.size == 0


def test_last_byte_is_asked_for_again(partial: Partial) -> None:
    partial.restart("v1")
    partial.append([b"abc", b"de"], offset=0, advance=nothing)

    assert partial.resume_point() == (4, "v1")

    partial.append([b"efg"], offset=4, advance=nothing)
    assert partial.path.read_bytes() == b"abcdefg"


def test_failure_keeps_what_arrived(partial: Partial) -> None:
    partial.restart("v1")
    with pytest.raises(ConnectionError):
        partial.append(breaking(b"abc"), offset=0, advance=nothing)

    assert partial.resume_point() == (2, "v1")
    with pytest.raises(ConnectionError):
        partial.append(breaking(b""), offset=2, advance=nothing)
    assert partial.size == 3


def test_restart_forgets_the_old_bytes(partial: Partial) -> None:
    partial.restart("v1")
    partial.append([b"abc"], offset=0, advance=nothing)
    partial.restart("v2")

    assert partial.resume_point() == (0, "v2")


def test_unnamed_version_is_not_continued(partial: Partial) -> None:
    partial.restart("")
    partial.append([b"abc"], offset=0, advance=nothing)

    assert partial.resume_point() == (0, "")


def test_bytes_without_a_version_are_not_continued(partial: Partial) -> None:
    partial.path.parent.mkdir(parents=True)
    partial.path.write_bytes(b"abc")

    assert partial.resume_point() == (0, "")


def test_result_is_never_written_to(partial: Partial, tmp_path: Path) -> None:
    partial.restart("v1")
    partial.append([b"abc"], offset=0, advance=nothing)
    partial.place(tmp_path / "result")

    assert partial.resume_point() == (0, "")
    partial.restart("v2")
    partial.append([b"xyz"], offset=0, advance=nothing)
    assert (tmp_path / "result").read_bytes() == b"abc"


def test_progress_counts_bytes(partial: Partial) -> None:
    counts: list[int] = []
    partial.restart("v1")
    partial.append([b"abc", b"de"], offset=0, advance=counts.append)

    assert counts == [3, 2]


def breaking(chunk: bytes) -> Iterator[bytes]:
    yield chunk
    raise ConnectionError
