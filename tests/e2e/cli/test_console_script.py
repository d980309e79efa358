"""The installed console script: what a shell or a CI job sees."""

import json
import subprocess
from typing import Any


def test_help_answers_without_heavy_imports(command_line: Any) -> None:
    done = command_line.run("--help")
    assert done.stdout.startswith("Usage: ptefoundry")
    assert done.stderr == ""


def test_errors_go_to_stderr_with_their_code(command_line: Any) -> None:
    done = command_line.run("inspect", "nothing.pte", "--json", code=3)
    assert done.stdout == ""
    assert done.stderr.startswith("error: nothing.pte: expected a file, found none")
    assert "Traceback" not in done.stderr


def test_debug_shows_where(command_line: Any) -> None:
    done = command_line.run("--debug", "inspect", "nothing.pte", code=3)
    assert "Traceback" in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("error: nothing.pte")


def test_usage_errors_are_2(command_line: Any) -> None:
    assert "No such option" in command_line.run("plan", "--nonsense", code=2).stderr


def test_closed_pipe_is_no_bug(command_line: Any) -> None:
    command = f"{command_line.program} doctor --json | head -c 1"
    done = subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=command_line.root,
        env=command_line.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "{"
    assert "bug" not in done.stderr


def test_doctor_is_one_document(command_line: Any) -> None:
    process = command_line.start("doctor", "--json")
    output, _ = process.communicate()
    found = json.loads(output)
    complete = all(need["ok"] for need in found["needs"])
    assert process.returncode == (0 if complete else 5)


def test_new_workspace_names_the_next_command(command_line: Any) -> None:
    command_line.root = command_line.root.parent
    done = command_line.run("init", "other", "--base", "s3://bucket/base/", "--no-fetch")
    assert "ptefoundry adapter add" in done.stdout
    assert (command_line.root / "other" / "dvc.yaml").is_file()
