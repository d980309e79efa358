import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.skips import container_skip_lines, lacking
from support.small_disk import small_disk


def _report(nodeid: str, reason: object) -> SimpleNamespace:
    return SimpleNamespace(nodeid=nodeid, longrepr=reason)


def test_container_tests_are_counted_by_reason() -> None:
    missing = ("conftest.py", 30, "Skipped: no container engine is running or installed")
    reports = [
        _report("tests/integration/container/test_jobs.py::test_one", missing),
        _report("tests/integration/container/test_jobs.py::test_two[podman]", missing),
        _report("tests/integration/container/test_build.py::test_three", "it is known"),
        _report("tests/integration/registry/test_oci_tools.py::test_four", missing),
    ]
    assert list(container_skip_lines(reports)) == [
        "2 container tests were skipped: no container engine is running or installed",
        "1 container tests were skipped: it is known",
    ]
    assert list(container_skip_lines(reports[3:])) == []


def test_a_run_says_it_in_its_last_lines(pytestconfig: pytest.Config) -> None:
    """By the settings of all tests, which pytest has loaded."""
    said: list[str] = []
    skipped = [_report("tests/integration/container/test_x.py::test_one", "no engine")]
    reporter = SimpleNamespace(
        stats={"skipped": skipped}, write_line=lambda line, **_markup: said.append(line)
    )
    settings = pytestconfig.pluginmanager.get_plugin(str(Path(__file__).parents[1] / "conftest.py"))
    settings.pytest_terminal_summary(reporter)
    assert said == ["1 container tests were skipped: no engine"]


@pytest.mark.parametrize(("setting", "outcome"), [("true", "Failed"), ("", "Skipped")])
def test_what_ci_installs_must_be_there_in_ci(
    setting: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", setting)
    with pytest.raises(BaseException, match="skopeo is not installed") as raised:
        lacking("skopeo is not installed")
    assert type(raised.value).__name__ == outcome


@pytest.mark.parametrize(("user", "outcome"), [(0, "Failed"), (1000, "Skipped")])
def test_root_must_be_able_to_mount_in_ci(
    user: int, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with (
        pytest.raises(BaseException, match="needs util-linux's unshare") as raised,
        small_disk(tmp_path, 1 << 20),
    ):
        pass
    assert type(raised.value).__name__ == outcome


def test_ci_says_that_it_is_ci() -> None:
    script = (Path(__file__).parents[2] / ".ci" / "run").read_text()
    assert script.index("export CI=true\n") < script.index("make ")
