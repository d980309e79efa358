"""What `ptefoundry plan` prints for people."""

import pytest
from typer.testing import CliRunner

from ptefoundry.cli import planning
from ptefoundry.cli.graph import PlannedStage
from ptefoundry.cli.main import app
from ptefoundry.cli.planning import Plan
from ptefoundry.cli.template_list import TemplateRow

_COMPILE = PlannedStage(
    name="compile@xnnpack",
    description="compiles program templates",
    reasons=("never built",),
    after=("signatures",),
)
_BASE = PlannedStage(name="fetch-base", description="fetches", reasons=(), after=())
_KEPT = TemplateRow(key="a" * 64, needed_by=("base",), found_in="templates", bytes=5)
_NEW = TemplateRow(key="b" * 64, needed_by=("blue", "red"), found_in=None, bytes=0)
_LATER = TemplateRow(
    key=None,
    needed_by=("green",),
    found_in=None,
    bytes=0,
    known_after=("convert-base", "convert-adapter@green"),
)


def _printed(
    monkeypatch: pytest.MonkeyPatch,
    *templates: TemplateRow,
    running: bool,
    removes: tuple[str, ...] = (),
) -> list[str]:
    planned = Plan(
        stages=(_BASE, _COMPILE) if running else (_BASE,),
        new_graph=False,
        removes=removes,
        templates=templates,
        compiled_methods=(),
    )
    monkeypatch.setattr(planning, "plan_build", lambda *_: planned)
    result = CliRunner().invoke(app, ["plan"], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output.splitlines()


@pytest.mark.usefixtures("workspace")
def test_every_template_is_told_with_who_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _printed(monkeypatch, _KEPT, _NEW, _LATER, running=True) == [
        "compile@xnnpack  compiles program templates",
        "    never built",
        "    after signatures",
        f"base: template {'a' * 16} in templates",
        f"blue, red: compiles template {'b' * 16} (minutes)",
        "green: template known after convert-base, convert-adapter@green",
        "1 stages would run or be restored from the cache, 1 stay",
    ]


@pytest.mark.usefixtures("workspace")
def test_where_nothing_runs_no_template_is_to_become_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _printed(monkeypatch, _KEPT, _LATER, running=False) == [
        f"base: template {'a' * 16} in templates",
        "nothing to do",
    ]
    assert _printed(monkeypatch, running=False, removes=("artifacts/link/x",)) == [
        "artifacts/link/x would be removed: its adapter is no longer in params.yaml",
    ]
