import json
import re
from pathlib import Path
from typing import Any

import pytest

_FIRST_STAGES = {"fetch-base", "fetch-remote-adapter@red", "fetch-remote-adapter@blue"}


def _results(stdout: str) -> dict[str, str]:
    return {stage["name"]: stage["result"] for stage in json.loads(stdout)["stages"]}


def test_first_build_runs_every_stage_once(built: Any) -> None:
    outcome = json.loads((built.root.parent / "first.json").read_text())
    names = [stage["name"] for stage in outcome["stages"]]
    assert len(names) == len(set(names)) == 19
    assert names[-1] == "bundle"
    assert {stage["result"] for stage in outcome["stages"]} == {"ran"}
    assert outcome["bundle"].endswith("artifacts/bundle")
    runner = next(stage for stage in outcome["stages"] if stage["name"] == "build-runner")
    assert runner["bytes"] == len("build-runner\n")
    assert runner["seconds"] > 0
    # Python itself has more than 4 MiB.
    assert all(stage["max_rss_bytes"] > 4 << 20 for stage in outcome["stages"])


def test_second_build_changes_nothing(built: Any) -> None:
    outcome = built.run("build", "--json").stdout
    results = _results(outcome)
    assert len(results) == 19
    assert {stage["max_rss_bytes"] for stage in json.loads(outcome)["stages"]} == {None}
    assert set(results.values()) == {"unchanged"}
    plan = built.run("plan")
    assert plan.stdout == "nothing to do\n"


def test_without_terminal_each_stage_is_a_line(command_line: Any) -> None:
    done = command_line.run("build", "--only", "convert-base")
    lines = [line for line in done.stderr.splitlines() if " ran " in line]
    assert len(lines) == 2
    assert re.fullmatch(r"fetch-base +ran +\d+\.\d s +22 B +\d+\.\d MiB RSS", lines[0])
    assert "\x1b" not in done.stderr
    assert re.match(r"2 ran, 0 from the cache, 0 unchanged in \d+\.\d s\n", done.stdout)


def test_one_adapter_is_built_alone(command_line: Any) -> None:
    results = _results(command_line.run("build", "--adapter", "red", "--json").stdout)
    assert "smoke@xnnpack-red" in results
    assert not {"bundle", "smoke-base@xnnpack", "reference@blue"} & set(results)
    # Templates are compiled for all adapters together, so each is converted.
    assert [name for name in results if "blue" in name] == [
        "fetch-remote-adapter@blue",
        "convert-adapter@blue",
    ]


def test_removed_adapter_leaves_nothing_and_next_build_is_unchanged(built: Any) -> None:
    built.run("adapter", "remove", "blue")
    plan = json.loads(built.run("plan", "--json").stdout)
    assert "artifacts/link/xnnpack/blue.pte" in plan["removes"]
    would_run = {stage["name"]: stage for stage in plan["stages"] if stage["would_run"]}
    # What comes after the signatures may stay, which is known only once they are collected.
    assert {name for name, stage in would_run.items() if stage["reasons"]} == {
        "signatures",
        "bundle",
    }
    done = built.run("build", "--json")
    assert "removed artifacts/link/xnnpack/blue.pte" in done.stderr
    assert not list((built.root / "artifacts").rglob("*blue*"))
    assert set(_results(built.run("build", "--json").stdout).values()) == {"unchanged"}


def test_plan_tells_what_build_does(built: Any) -> None:
    params = built.root / "params.yaml"
    params.write_text(params.read_text().replace("context_length: 1024", "context_length: 512"))
    plan = json.loads(built.run("plan", "--json").stdout)
    planned = {stage["name"]: stage for stage in plan["stages"] if stage["would_run"]}
    assert planned["compile@xnnpack"]["reasons"] == [
        "params.yaml: backends.xnnpack.context_length: 1024 -> 512"
    ]
    assert "compile@xnnpack" in planned["foundation@xnnpack"]["after"]
    assert "foundation@xnnpack" in planned["link@xnnpack-red"]["after"]
    assert "link@xnnpack-red" in planned["smoke@xnnpack-red"]["after"]
    results = _results(built.run("build", "--json").stdout)
    ran = {name for name, result in results.items() if result != "unchanged"}
    # The stand-ins' outputs do not depend on the length, so what comes after may stay.
    assert {"compile@xnnpack", "bundle"} <= ran <= set(planned)


def test_plan_of_a_new_graph_writes_nothing(built: Any) -> None:
    params, graph = built.root / "params.yaml", built.root / "dvc.yaml"
    text = params.read_text().replace("  blue:\n    source: hf:example/blue@main\n", "")
    params.write_text(text.replace("  red:\n", "  green:\n    source: file:green\n  red:\n"))
    before = graph.read_text()
    plan = json.loads(built.run("plan", "--json").stdout)
    assert plan["new_graph"]
    assert graph.read_text() == before
    stages = {stage["name"]: stage for stage in plan["stages"]}
    assert not [name for name in stages if "blue" in name]
    assert stages["link@xnnpack-green"]["reasons"] == ["new in the graph"]
    assert stages["fetch-adapter@green"]["would_run"]
    assert not stages["convert-base"]["would_run"]
    assert any("adapters" in reason for reason in stages["bundle"]["reasons"])
    assert "dvc.yaml would be written anew" in built.run("plan").stdout
    graph.write_text("stages: nonsense\n")
    assert json.loads(built.run("plan", "--json").stdout)["stages"][-1]["would_run"]


def test_restored_stages_are_told_apart(built: Any) -> None:
    (built.root / "artifacts" / "runner" / "bin" / "ptefoundry-runner").unlink()
    done = built.run("build", "--json")
    assert _results(done.stdout)["build-runner"] == "cached"


def test_failure_of_a_stage_is_shown_once_with_its_code(command_line: Any) -> None:
    command_line.behave(
        convert_base={
            "print": ["noise", "error: a/file: refused:", "- one reason", "- another"],
            "exit": 3,
        }
    )
    done = command_line.run("build", "--adapter", "base", code=3)
    assert done.stderr.endswith(
        "error: stage convert-base failed (exit code 3): a/file: refused:\n"
        "- one reason\n- another\n"
    )
    assert done.stderr.count("refused") == 1
    for word in ("noise", "Traceback", "ERROR", "reproduce"):
        assert word not in done.stderr
    assert done.stdout == ""


def test_failed_build_goes_on_where_it_was(command_line: Any) -> None:
    command_line.behave(convert_base={"exit": 6})
    failed = json.loads(command_line.run("build", "--json", code=6).stdout)
    assert failed["error"].startswith("stage convert-base failed (exit code 6)")
    assert failed["bundle"] is None
    command_line.behave()
    results = _results(command_line.run("build", "--only", "convert-base", "--json").stdout)
    assert results == {"fetch-base": "unchanged", "convert-base": "ran"}


def test_crash_shows_its_last_lines_and_the_log(command_line: Any) -> None:
    command_line.behave(fetch_base={"print": ["Traceback", "ValueError: wrong"], "exit": 1})
    done = command_line.run("build", "--only", "fetch-base", code=5)
    assert "stage fetch-base failed (exit code 1): its last lines:" in done.stderr
    assert "ValueError: wrong" in done.stderr
    log = command_line.root / ".dvc" / "tmp" / "ptefoundry-build.log"
    assert str(log) in done.stderr
    assert "ValueError: wrong" in log.read_text()


def test_warnings_reach_the_user_and_noise_does_not(command_line: Any) -> None:
    command_line.behave(fetch_base={"print": ["warning: beware", "  of this", "noise"]})
    done = command_line.run("build", "--only", "fetch-base")
    assert "warning: beware\n  of this\n" in done.stderr
    assert "noise" not in done.stderr
    command_line.behave(fetch_base={"print": ["noise"]})
    params = command_line.root / "params.yaml"
    params.write_text(params.read_text().replace("example/tiny@main", "example/tiny@other"))
    assert "noise" in command_line.run("build", "--only", "fetch-base", "--verbose").stderr


def test_unknown_stage_is_an_error_of_the_build(command_line: Any) -> None:
    done = command_line.run("build", "--only", "nonsense", code=5)
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr


def test_locked_build_refuses_another_toolchain(command_line: Any) -> None:
    path = command_line.root / "toolchain.json"
    path.write_text(path.read_text().replace('"executorch": "', '"executorch": "0.'))
    done = command_line.run("build", "--locked", code=2)
    assert re.search(r"compile\.executorch: 0\.\S+ -> ", done.stderr)
    assert not (command_line.root / "artifacts").exists()


def test_stages_find_this_python(command_line: Any) -> None:
    # The command runs with a PATH that has no environment's bin folder.
    assert ".venv" not in command_line.environment["PATH"]
    command_line.run("build", "--only", "fetch-base")


@pytest.mark.parametrize("command", ["build", "plan"])
def test_damaged_parameters_are_told_with_their_line(command_line: Any, command: str) -> None:
    params = command_line.root / "params.yaml"
    params.write_text(params.read_text().replace("smoke:", "smoke:\n  unknown: 1"))
    done = command_line.run(command, code=2)
    assert re.search(r"params\.yaml:\d+: smoke\.unknown: expected only known keys", done.stderr)


def test_commands_work_from_a_folder_below(built: Any) -> None:
    built.root = built.root / "artifacts"
    assert built.run("plan").stdout == "nothing to do\n"
    assert set(_results(built.run("build", "--json").stdout).values()) == {"unchanged"}


def test_no_workspace_is_told(command_line: Any, tmp_path: Path) -> None:
    command_line.root = tmp_path
    assert "ptefoundry init" in command_line.run("build", code=2).stderr
