"""A stage tells how much memory it had, or the largest process that it ran."""

import os
import subprocess
import sys

import pytest

from ptefoundry.peak_memory import max_rss_bytes, parse_peak, report_peak

_SIZE = 96 << 20
_FILL = f"data = bytearray(b'x') * {_SIZE}; del data"
_STAGE = """\
import subprocess, sys
from ptefoundry.stages import entry
entry.check_graph = entry.check_toolchain = lambda *_: None
entry.start("bundle", lambda: exec(sys.argv[1]))
"""
_CASES = {
    "stage": (_FILL, 0),
    "program": (f'subprocess.run([sys.executable, "-c", "{_FILL}"])', 0),
    "failure": (f"{_FILL}; raise entry.BuildError('no')", 5),
}


@pytest.mark.parametrize(("code", "exit_code"), _CASES.values(), ids=_CASES)
def test_a_stage_tells_its_peak_however_it_ends(code: str, exit_code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STAGE, code],
        env={**os.environ, "PTEFOUNDRY_PROGRESS": "lines"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == exit_code, done.stderr
    (peak,) = (peak for line in done.stderr.splitlines() if (peak := parse_peak(line)) is not None)
    assert _SIZE < peak < 3 * _SIZE


def test_the_parent_before_exec_does_not_count() -> None:
    code = "from ptefoundry.peak_memory import max_rss_bytes; print(max_rss_bytes())"
    fork = f"import os, sys; {_FILL.partition(';')[0]}; "
    fork += f"os.execv(sys.executable, [sys.executable, '-c', {code!r}])"
    done = subprocess.run([sys.executable, "-c", fork], capture_output=True, text=True, check=True)
    if sys.platform == "linux":
        assert int(done.stdout) < _SIZE


def test_nothing_is_told_where_nobody_asks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PTEFOUNDRY_PROGRESS", raising=False)
    report_peak()
    assert capsys.readouterr().err == ""
    assert max_rss_bytes() > 4 << 20
