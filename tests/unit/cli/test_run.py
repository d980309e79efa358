import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ptefoundry.cli import runner as runner_module
from ptefoundry.cli.main import app
from ptefoundry.cli.runner import find_runner
from ptefoundry.errors import ArtifactError, ConfigError, FoundryError
from ptefoundry.native import RUNNER_PROGRAM
from ptefoundry.workspace import Workspace

_SCRIPT = """\
#!{python}
import json, pathlib, sys
pathlib.Path({log!r}).write_text(json.dumps(sys.argv[1:]))
sys.exit({code})
"""


def _install(prefix: Path, log: Path, code: int = 0) -> Path:
    program = prefix / RUNNER_PROGRAM
    program.parent.mkdir(parents=True)
    program.write_text(_SCRIPT.format(python=sys.executable, log=str(log), code=code))
    program.chmod(0o755)
    return program


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the runner of this test writes its arguments."""
    log = tmp_path / "arguments.json"
    _install(tmp_path / "prefix", log)
    monkeypatch.setenv("PTEFOUNDRY_RUNNER", str(tmp_path / "prefix"))
    return log


def _run(*words: object) -> int:
    result = CliRunner().invoke(app, ["run", *map(str, words)])
    if isinstance(result.exception, FoundryError):
        raise result.exception
    return result.exit_code


def test_prompt_goes_to_the_adapters_program(bundle: Path, arguments: Path) -> None:
    assert _run(bundle, "--adapter", "red", "--prompt", "--who?") == 0
    assert json.loads(arguments.read_text()) == [
        *("--program", f"{bundle}/xnnpack/red.pte"),
        *("--data", f"{bundle}/xnnpack/foundation.ptd"),
        *("--tokenizer", f"{bundle}/tokenizer"),
        *("--prompt", "--who?", "--chat-template"),
    ]


def test_several_adapters_share_the_foundation(bundle: Path, arguments: Path) -> None:
    _run(bundle, "--adapter", "base", "--adapter", "red", "--prompt", "a", "--prompt", "b")
    given = json.loads(arguments.read_text())
    assert given.count("--program") == 2
    assert given.count("--data") == 1
    assert given.count("--prompt") == 2


def test_options_are_passed_on(bundle: Path, arguments: Path) -> None:
    options = ["--max-new-tokens", "5", "--temperature", "0.5", "--top-p", "0.9", "--seed", "7"]
    _run(bundle, "--prompt", "a", *options, "--threads", "2", "--json", "--raw")
    given = json.loads(arguments.read_text())
    assert given[given.index("--json") :] == ["--json", *options, "--threads", "2"]
    assert "--chat-template" not in given


def test_no_prompt_is_a_chat(bundle: Path, arguments: Path) -> None:
    _run(bundle)
    given = json.loads(arguments.read_text())
    assert given[-1] == "--chat"
    assert "--chat-template" not in given
    assert given[1].endswith("base.pte")


def test_base_without_template_gets_none(bundle: Path, arguments: Path) -> None:
    (bundle / "tokenizer/chat.json").write_text('{"first": []}')
    _run(bundle, "--prompt", "a")
    assert "--chat-template" not in json.loads(arguments.read_text())


def test_chat_may_switch_to_every_adapter(bundle: Path, arguments: Path) -> None:
    assert _run(bundle, "--adapter", "red") == 0
    assert json.loads(arguments.read_text()) == [
        *("--program", f"{bundle}/xnnpack/red.pte"),
        *("--on-demand", f"{bundle}/xnnpack/base.pte"),
        *("--data", f"{bundle}/xnnpack/foundation.ptd"),
        *("--tokenizer", f"{bundle}/tokenizer", "--chat"),
    ]


def test_server_may_use_every_adapter(bundle: Path, arguments: Path) -> None:
    assert _run(bundle, "--adapter", "red", "--adapter", "base", "--serve-stdio") == 0
    given = json.loads(arguments.read_text())
    assert given.count("--program") == 2
    assert "--on-demand" not in given
    assert given[-2:] == ["--serve-stdio", "--chat-template"]
    assert _run(bundle, "--serve-stdio", "--raw") == 0
    given = json.loads(arguments.read_text())
    assert given.count("--on-demand") == 1
    assert given[-1] == "--serve-stdio"


def test_packed_weights_are_kept_where_asked(bundle: Path, arguments: Path, tmp_path: Path) -> None:
    words = ("--packed-cache", tmp_path, "--packed-cache-max-bytes", "5")
    assert _run(bundle, "--prompt", "a", *words) == 0
    assert json.loads(arguments.read_text())[-4:] == [str(word) for word in words]
    assert _run(bundle, "--prompt", "a", "--no-packed-cache") == 0
    assert json.loads(arguments.read_text())[-1] == "--no-packed-cache"


@pytest.mark.parametrize(
    "words",
    [
        ("--serve-stdio", "--prompt", "a"),
        ("--serve-stdio", "--json"),
        ("--prompt", "a", "--no-packed-cache", "--packed-cache", "x"),
    ],
)
def test_options_that_exclude_each_other_are_refused(bundle: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"--serve-stdio|--no-packed-cache"):
        _run(bundle, *words)


@pytest.mark.parametrize("words", [("--json",), ("--raw",)])
def test_chat_that_cannot_be_is_refused(bundle: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="--prompt"):
        _run(bundle, *words)


def test_unknown_variant_is_refused_with_those_known(bundle: Path) -> None:
    with pytest.raises(ArtifactError, match="xnnpack/base, xnnpack/red"):
        _run(bundle, "--adapter", "green", "--prompt", "a")


def test_bundle_of_the_workspace_is_the_default(
    workspace: Path, bundle: Path, arguments: Path
) -> None:
    with pytest.raises(ArtifactError, match="ptefoundry build"):
        _run("--prompt", "a")
    bundle.rename(workspace / "artifacts" / "bundle")
    assert _run("--prompt", "a") == 0


def test_runner_beside_a_named_bundle_is_used(
    workspace: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(workspace / "artifacts" / "runner", tmp_path / "log")
    bundle.rename(workspace / "artifacts" / "bundle")
    monkeypatch.chdir(tmp_path)
    assert _run("workspace/artifacts/bundle", "--prompt", "a") == 0
    assert (tmp_path / "log").is_file()


def test_without_workspace_a_bundle_must_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="expected a workspace"):
        _run("--prompt", "a")


def test_exit_code_is_passed_on(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path / "failing", tmp_path / "log", code=7)
    monkeypatch.setenv("PTEFOUNDRY_RUNNER", str(tmp_path / "failing"))
    assert _run(bundle, "--prompt", "a") == 7


def test_runner_of_the_environment_comes_first(workspace: Path, arguments: Path) -> None:
    _install(workspace / "artifacts" / "runner", arguments)
    assert find_runner(Workspace(workspace)) == arguments.parent / "prefix" / RUNNER_PROGRAM


def test_environment_without_runner_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTEFOUNDRY_RUNNER", str(tmp_path))
    with pytest.raises(ConfigError, match="PTEFOUNDRY_RUNNER"):
        find_runner(None)


def test_runner_of_the_workspace_comes_next(workspace: Path, tmp_path: Path) -> None:
    program = _install(workspace / "artifacts" / "runner", tmp_path / "log")
    assert find_runner(Workspace(workspace)) == program


def test_runner_is_built_once_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built = []

    def build(into: Path) -> None:
        built.append(into)
        _install(into, tmp_path / "log")

    monkeypatch.setattr(runner_module, "build_runner", build)
    program = find_runner(None)
    assert program.is_relative_to(tmp_path / "cache" / "runner")
    assert find_runner(None) == program
    assert len(built) == 1
    assert capsys.readouterr().err.count("building the runner") == 1
