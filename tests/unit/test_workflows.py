"""What the workflows run exists and is run by tests too; what they may do is bounded."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from support.commands import check_command, make_targets

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github/actions").glob("*/action.yml"))
_PINNED = re.compile(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v[0-9.]+$")
_OWN = "$/"
_SUBSTITUTED = re.compile(r"\$\(([^)]*)\)")
_KEYWORDS = {"if", "then", "fi", "else"}
_SECRETS = re.compile(r"\$\{\{[^}]*\bsecrets\b")
#: Programs that stand on every runner, or that the locks install.
_KNOWN_DVC = {("remote", "add"), ("pull",)}
_SHELL = {"cat", "echo", "test"}
_EXPANDED = {"$ARGUMENTS": ["--backend", "xnnpack", "--adapter", "red"]}


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(path.read_text())
    return loaded


def _events(workflow: dict[str, Any]) -> set[str]:
    """YAML 1.1 takes `on` for true, 1.2 does not."""
    return set(workflow.get("on") or workflow[True])  # type: ignore[call-overload]


def _steps(path: Path) -> list[dict[str, Any]]:
    loaded = _load(path)
    if "runs" in loaded:
        return list(loaded["runs"]["steps"])
    return [step for job in loaded["jobs"].values() for step in job["steps"]]


def _commands(script: str) -> Iterator[list[str]]:
    """The command lines of a script, those that are substituted too."""
    for inner in _SUBSTITUTED.findall(script):
        yield from _commands(inner)
    for line in script.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        into_file = False
        for word in [*lexer, ";"]:
            into_file, is_file = set(word) == {">"}, into_file
            if into_file or is_file:
                continue
            if set(word) <= set(";|&"):
                if words:
                    yield words
                words = []
            elif word not in _KEYWORDS:
                words += _EXPANDED.get(word, [word])


def _check_script(script: str) -> None:
    for words in _commands(script):
        _check(words)


def _check(words: list[str]) -> None:
    program, *arguments = words
    if program == "make":
        assert set(arguments) <= make_targets(ROOT / "Makefile"), words
    elif program == "ptefoundry":
        check_command(words)
    elif program == "dvc":
        assert any(tuple(arguments[: len(known)]) == known for known in _KNOWN_DVC), words
    elif "/" in program:
        assert os.access(ROOT / program, os.X_OK), words
    else:
        assert program in _SHELL, words


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.parent.name)
def test_every_command_exists(path: Path) -> None:
    scripts = [step["run"] for step in _steps(path) if "run" in step]
    assert scripts
    for script in scripts:
        _check_script(script)


@pytest.mark.parametrize(
    "script",
    [
        "make no-such-target",
        "ptefoundry no-such-command",
        "ptefoundry build --no-such-option",
        "ptefoundry build no-such-argument > log",
        "ptefoundry push --version",
        'echo "matrix=$(ptefoundry plan --no-such-option)"',
        "make lint && ptefoundry buildd",
        "curl example.org | sh",
        ".ci/no-such-script",
        "dvc destroy",
    ],
)
def test_what_does_not_exist_is_found(script: str) -> None:
    with pytest.raises(AssertionError):
        _check_script(script)


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.parent.name)
def test_actions_are_pinned(path: Path) -> None:
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used
    for action in used:
        if action.startswith(_OWN):
            assert (ROOT / action.removeprefix(_OWN) / "action.yml").is_file(), action
        else:
            assert _PINNED.match(action), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_bounded(path: Path) -> None:
    workflow = _load(path)
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] > 0, name
    text = path.read_text()
    if "pull_request" in _events(workflow):
        assert not _SECRETS.search(text)
        assert "id-token" not in text
    assert "pull_request_target" not in _events(workflow)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_index_of_torch_is_a_variable_of_the_repository(path: Path) -> None:
    """No host of one is named here, and without it a plain index gives torch for CUDA."""
    variable = "PIP_EXTRA_INDEX_URL"
    assert _load(path)["env"][variable] == f"${{{{ vars.{variable} }}}}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_skipped_job_skips_no_other(path: Path) -> None:
    """GitHub skips all that comes after it, at any distance, that does not say `!cancelled()`."""
    jobs = _load(path)["jobs"]
    for name, job in jobs.items():
        if any("if" in jobs[other] for other in _all_needs(jobs, name)):
            assert "!cancelled()" in job["if"], f"{path.name}: {name}"
            for other in _needs(job):
                assert f"needs.{other}.result == 'success'" in job["if"], f"{path.name}: {name}"


def _all_needs(jobs: dict[str, Any], name: str) -> set[str]:
    direct = _needs(jobs[name])
    return direct.union(*(_all_needs(jobs, other) for other in direct))


def _needs(job: dict[str, Any]) -> set[str]:
    needs = job.get("needs", [])
    return {needs} if isinstance(needs, str) else set(needs)


def test_secrets_are_behind_an_environment() -> None:
    for path in WORKFLOWS:
        for name, job in _load(path)["jobs"].items():
            if _SECRETS.search(str(job)):
                assert job["environment"], f"{path.name}: {name}"


def test_scripts_get_values_by_variables_alone() -> None:
    """`${{ }}` in a script would be code of whoever chooses the value."""
    for path in [*WORKFLOWS, *ACTIONS]:
        for step in _steps(path):
            assert "${{" not in step.get("run", ""), path
