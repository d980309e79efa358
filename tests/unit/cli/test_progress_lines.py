import pytest

from ptefoundry import report
from ptefoundry.report import ProgressLine, parse_progress, progress


@pytest.fixture(autouse=True)
def _lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTEFOUNDRY_PROGRESS", "lines")


def _written(capsys: pytest.CaptureFixture[str]) -> list[ProgressLine | None]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [parse_progress(line) for line in captured.err.splitlines()]


def _line(done: int, total: int | None = 10) -> ProgressLine:
    return ProgressLine(label="weights", done=done, total=total, unit="bytes")


def test_lines_tell_start_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("weights", 10) as advance:
        advance(10)
    assert _written(capsys) == [_line(0), _line(10)]


def test_lines_are_few(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    with progress("weights", None) as advance:
        for _ in range(100):
            now[0] += 0.01
            advance(1)
    lines = _written(capsys)
    assert lines[0] == _line(0, None)
    assert 4 <= len(lines) <= 6


def test_other_lines_are_no_progress() -> None:
    assert parse_progress("weights 10 of 10") is None
    assert parse_progress('ptefoundry-progress: {"label": "x"}') is None


def test_without_the_variable_nothing_is_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PTEFOUNDRY_PROGRESS")
    with progress("weights", 10) as advance:
        advance(10)
    assert capsys.readouterr().err == ""
