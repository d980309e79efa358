from pathlib import Path
from types import SimpleNamespace

import pytest

from support.skips import lacking, skip_lines


def _report(nodeid: str, reason: object) -> SimpleNamespace:
    return SimpleNamespace(nodeid=nodeid, longrepr=reason)


def test_skipped_tests_are_counted_by_reason() -> None:
    missing = ("conftest.py", 30, "Skipped: no container engine is running or installed")
    reports = [
        _report("tests/integration/container/test_jobs.py::test_one", missing),
        _report("tests/integration/container/test_jobs.py::test_two[podman]", missing),
        _report("tests/integration/container/test_build.py::test_three", "it is known"),
        _report("tests/integration/registry/test_oci_tools.py::test_four", missing),
    ]
    assert list(skip_lines(reports)) == [
        "3 skipped: no container engine is running or installed",
        "1 skipped: it is known",
    ]
    assert list(skip_lines([])) == []


def test_a_run_says_it_in_its_last_lines(pytestconfig: pytest.Config) -> None:
    """By the settings of all tests, which pytest has loaded."""
    said: list[str] = []
    skipped = [_report("tests/integration/container/test_x.py::test_one", "no engine")]
    reporter = SimpleNamespace(
        stats={"skipped": skipped}, write_line=lambda line, **_markup: said.append(line)
    )
    settings = pytestconfig.pluginmanager.get_plugin(str(Path(__file__).parents[1] / "conftest.py"))
    settings.pytest_terminal_summary(reporter)
    assert said == ["1 skipped: no engine"]


@pytest.mark.parametrize(("setting", "outcome"), [("true", "Failed"), ("", "Skipped")])
def test_what_ci_installs_must_be_there_in_ci(
    setting: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", setting)
    with pytest.raises(BaseException, match="skopeo is not installed") as raised:
        lacking("skopeo is not installed")
    assert type(raised.value).__name__ == outcome


def test_what_other_machines_install_may_lack_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    for value, outcome in (("true", "Failed"), ("", "Skipped")):
        monkeypatch.setenv("GITHUB_ACTIONS", value)
        with pytest.raises(BaseException, match="no node") as raised:
            lacking("no node", setting="GITHUB_ACTIONS")
        assert type(raised.value).__name__ == outcome


def test_ci_says_that_it_is_ci() -> None:
    script = (Path(__file__).parents[2] / ".ci" / "run").read_text()
    assert script.index("export CI=true\n") < script.index("make ")
