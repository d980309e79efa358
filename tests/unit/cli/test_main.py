import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import typer
from typer.testing import CliRunner

from ptefoundry.cli import main as main_module
from ptefoundry.cli.main import app, main
from ptefoundry.errors import BuildError, ConfigError, FoundryError, InputError, VerificationError

_HEAVY = ("boto3", "dvc", "executorch", "huggingface_hub", "pydantic", "torch", "transformers")


_COMMANDS = [
    (),
    *(
        (name,)
        for name in ("init", "plan", "build", "inspect", "verify", "run", "doctor", "rebuild")
    ),
    ("adapter",),
    *(("adapter", name) for name in ("add", "check", "list", "remove")),
    ("template",),
    *(("template", name) for name in ("ls", "push", "pull", "verify")),
    ("registry",),
    ("registry", "init"),
    *((name,) for name in ("push", "ls", "show", "diff", "pull", "promote", "rollback", "log")),
    *((name,) for name in ("yank", "unyank", "gc", "fsck", "mirror")),
    ("cache",),
    *(("cache", name) for name in ("ls", "prune", "verify")),
    ("keys",),
    *(("keys", name) for name in ("generate", "show")),
]


def _walk(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _walk(child, (*path, name))


def test_importing_the_command_line_is_light() -> None:
    code = (
        "import sys, ptefoundry.cli.main\n"
        f"print([name for name in {_HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_and_option_has_help() -> None:
    commands = dict(_walk(typer.main.get_command(app)))
    assert set(commands) == set(_COMMANDS)
    for path, command in commands.items():
        assert command.help, path  # type: ignore[attr-defined]
        for parameter in command.params:  # type: ignore[attr-defined]
            assert parameter.help, (path, parameter.name)


@pytest.mark.parametrize("path", _COMMANDS, ids=" ".join)
def test_help_is_shown(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


def test_top_help_lists_exit_codes() -> None:
    text = CliRunner().invoke(app, ["--help"]).stdout
    listed = {line.split()[0] for line in text.partition("Exit codes:")[2].splitlines() if line}
    assert listed == {"0", "1", "2", "3", "4", "5", "6", "7", "130"}


def test_version_is_shown() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("ptefoundry 0.")


def test_unknown_option_is_bad_usage() -> None:
    assert CliRunner().invoke(app, ["plan", "--nonsense"]).exit_code == 2


def _raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Callable[[], int]:
    def fail() -> None:
        raise error

    def run(*options: str) -> int:
        monkeypatch.setattr(sys, "argv", ["ptefoundry", *options, "fail"])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0)

    failing = typer.Typer(pretty_exceptions_enable=False)
    failing.callback()(main_module._configure)
    failing.command("fail")(fail)
    monkeypatch.setattr(main_module, "app", failing)
    return run


@pytest.mark.parametrize("kind", [ConfigError, InputError, BuildError, VerificationError])
def test_deliberate_errors_have_their_exit_code(
    kind: type[FoundryError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _raising(monkeypatch, kind("what happened"))() == kind.exit_code
    captured = capsys.readouterr()
    assert captured.err == "error: what happened\n"
    assert captured.out == ""


def test_operating_system_errors_are_no_bugs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _raising(monkeypatch, PermissionError(13, "Permission denied", "a/file"))() == 1
    error = capsys.readouterr().err
    assert "Permission denied: 'a/file'" in error
    assert "report" not in error


def test_other_errors_are_bugs_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _raising(monkeypatch, ZeroDivisionError("by zero"))() == 1
    error = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: by zero" in error
    assert "please report" in error
    assert "Traceback" not in error


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert _raising(monkeypatch, ConfigError("what happened"))("--debug") == 2  # type: ignore[call-arg]
    assert any(record.exc_info for record in caplog.records)


def test_interrupt_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _raising(monkeypatch, KeyboardInterrupt())() == 130
    assert "run the same command again" in capsys.readouterr().err
