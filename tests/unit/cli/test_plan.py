import json
import subprocess
import sys
from pathlib import Path

import pytest

from ptefoundry.cli.graph import PlannedStage, plan_stages
from ptefoundry.errors import BuildError, ConfigError

# Of a library that DVC uses.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")

_TOOLCHAIN = {"compile": {"torch": "2.12.0"}}
_GRAPH = """\
stages:
  first:
    desc: copies
    cmd: cp input artifacts/first
    deps: [input]
    params: [smoke]
    outs: [artifacts/first]
  second:
    matrix: {name: [x, y]}
    cmd: cp artifacts/first artifacts/second-${item.name}
    deps: [artifacts/first]
    params:
      - toolchain.json:
          - compile
    outs: ["artifacts/second-${item.name}"]
  third:
    cmd: cat artifacts/second-x artifacts/second-y > artifacts/third
    deps: [artifacts/second-x, artifacts/second-y]
    outs: [artifacts/third]
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hand-made graph that has been built."""
    root = tmp_path_factory.mktemp("graph")
    (root / "artifacts").mkdir()
    (root / "input").write_text("content")
    (root / "params.yaml").write_text("smoke: {tokens: 32, prompts: [a]}\n")
    (root / "toolchain.json").write_text(json.dumps(_TOOLCHAIN))
    (root / "dvc.yaml").write_text(_GRAPH)
    _dvc(root, "init", "--no-scm", "--quiet")
    _dvc(root, "repro", "--quiet")
    return root


def _dvc(root: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    subprocess.run(command, cwd=root, check=True, capture_output=True)


@pytest.fixture
def graph(built: Path) -> Path:
    (built / "input").write_text("content")
    (built / "params.yaml").write_text("smoke: {tokens: 32, prompts: [a]}\n")
    (built / "dvc.yaml").write_text(_GRAPH)
    (built / "artifacts" / "third").write_text("contentcontent")
    return built


def _plan(root: Path, toolchain: dict[str, dict[str, str]] = _TOOLCHAIN) -> dict[str, PlannedStage]:
    return {stage.name: stage for stage in plan_stages(root, toolchain)}


def test_nothing_changed_is_nothing_to_run(graph: Path) -> None:
    assert not [stage for stage in _plan(graph).values() if stage.would_run]


def test_stages_are_in_the_order_of_a_build(graph: Path) -> None:
    assert list(_plan(graph)) == ["first", "second@x", "second@y", "third"]


def test_changed_input_runs_all_behind_it(graph: Path) -> None:
    (graph / "input").write_text("other content")
    plan = _plan(graph)
    assert plan["first"].reasons == ("input: modified",)
    assert plan["first"].description == "copies"
    assert (plan["second@x"].reasons, plan["second@x"].after) == ((), ("first",))
    assert plan["third"].after == ("second@x", "second@y")


def test_changed_parameter_is_told_by_value(graph: Path) -> None:
    (graph / "params.yaml").write_text("smoke: {tokens: 48, prompts: [a]}\n")
    assert _plan(graph)["first"].reasons == ("params.yaml: smoke.tokens: 32 -> 48",)


def test_toolchain_to_come_counts(graph: Path) -> None:
    plan = _plan(graph, {"compile": {"torch": "2.13.0"}})
    assert not plan["first"].would_run
    assert plan["second@y"].reasons == ("toolchain.json: compile.torch: 2.12.0 -> 2.13.0",)
    assert plan["third"].after == ("second@x", "second@y")


def test_changed_command_is_a_reason(graph: Path) -> None:
    (graph / "dvc.yaml").write_text(_GRAPH.replace("cp input", "cp -f input"))
    assert _plan(graph)["first"].reasons == ("its command changed",)


def test_missing_output_is_a_reason(graph: Path) -> None:
    (graph / "artifacts" / "third").unlink()
    assert _plan(graph)["third"].reasons == ("its output artifacts/third: deleted",)


def test_new_stage_was_never_built(graph: Path) -> None:
    (graph / "dvc.yaml").write_text(_GRAPH.replace("[x, y]", "[x, y, z]"))
    plan = _plan(graph)
    assert plan["second@z"].reasons == ("never built",)
    assert not plan["second@x"].would_run


def test_stage_left_behind_by_a_partial_build_has_a_reason(graph: Path) -> None:
    (graph / "input").write_text("third content")
    _dvc(graph, "repro", "--quiet", "second@x")
    plan = _plan(graph)
    assert not plan["first"].would_run
    assert plan["second@y"].reasons == ("artifacts/first: modified",)
    (graph / "input").write_text("content")
    _dvc(graph, "repro", "--quiet")


def test_plan_is_the_same_from_a_folder_below(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(graph / "artifacts")
    assert "first" in _plan(graph)


def test_workspace_without_dvc_is_told(graph: Path, tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(_GRAPH)
    with pytest.raises(ConfigError, match="dvc init"):
        _plan(tmp_path)


def test_broken_graph_is_a_build_error(graph: Path) -> None:
    (graph / "dvc.yaml").write_text("stages: {first: {}}\n")
    with pytest.raises(BuildError, match="DVC cannot read the build graph"):
        _plan(graph)


def test_lock_of_another_process_is_told(graph: Path) -> None:
    code = (
        "import sys, time; from dvc.repo import Repo\n"
        "with Repo('.').lock: print('locked', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], cwd=graph, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(BuildError, match="another DVC command is running here"):
            _plan(graph)
    finally:
        holder.kill()
        holder.communicate()
