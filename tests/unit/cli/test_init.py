import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from ptefoundry.cli import init as init_module
from ptefoundry.cli.main import app
from ptefoundry.errors import ConfigError, FoundryError, SourceError
from ptefoundry.graph_check import check_graph
from ptefoundry.params import load_params
from ptefoundry.toolchain import check_toolchain
from support.tiny_adapters import TINY


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(init_module, "is_interactive", lambda: False)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of a base, which opens as one."""
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")

    class Opened:
        config = TINY

        def __enter__(self) -> "Opened":
            return self

        def __exit__(self, *_error: object) -> None:
            pass

    def open_checkpoint(folder: Path) -> Opened:
        assert (folder / "model.safetensors").read_bytes() == b"weights"
        return Opened()

    fake = SimpleNamespace(open_checkpoint=open_checkpoint)
    monkeypatch.setitem(sys.modules, "ptefoundry.base.checkpoints", fake)
    return folder


def _init(*arguments: str, answers: str | None = None) -> str:
    result = CliRunner().invoke(app, ["init", *arguments], input=answers)
    if isinstance(result.exception, FoundryError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_flags_make_a_workspace(base: Path, tmp_path: Path) -> None:
    output = _init("new", "--base", "models/tiny", "--base-name", "example/tiny", "--name", "pets")
    root = tmp_path / "new"
    params = load_params(root)
    assert (params.bundle.name, params.base.name) == ("pets", "example/tiny")
    assert params.base.source == "file:../models/tiny"
    assert params.base.digest is None
    assert params.adapters == {}
    assert params.backends.xnnpack.context_length == TINY.max_context
    check_graph(root)
    check_toolchain(root, "compile")
    assert "  cd new\n" in output
    assert "ptefoundry adapter add" in output


def test_workspace_is_a_repository_of_git_and_dvc(base: Path, tmp_path: Path) -> None:
    _init("new", "--base", "models/tiny")
    root = tmp_path / "new"
    assert (root / ".git").is_dir()
    config = (root / ".dvc" / "config").read_text()
    assert "analytics = false" in config
    assert "check_update = false" in config
    assert "hardlink,reflink,copy" in config
    (root / "artifacts" / "runner").mkdir(parents=True)
    ignored = subprocess.run(
        ["git", "check-ignore", "artifacts/runner", "dvc.lock", "params.yaml"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ignored.stdout.split() == ["artifacts/runner"]


def test_folder_of_an_existing_repository(base: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    root = tmp_path / "app" / "models"
    root.mkdir(parents=True)
    (root / ".gitignore").write_text("*.log")
    _init("app/models", "--base", "models/tiny")
    assert not (root / ".git").exists()
    assert (root / ".dvc").is_dir()
    assert (root / ".gitignore").read_text().startswith("*.log\n")
    assert load_params(root).bundle.name == "models"


def test_names_that_yaml_reads_as_something_else(base: Path, tmp_path: Path) -> None:
    _init("123", "--base", "models/tiny", "--base-name", "yes: #1")
    params = load_params(tmp_path / "123")
    assert (params.bundle.name, params.base.name) == ("123", "yes: #1")


def test_terminal_is_asked_for_what_is_missing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init_module, "is_interactive", lambda: True)
    _init("new", answers="pets\nmodels/tiny\n\n32\n")
    params = load_params(tmp_path / "new")
    assert (params.bundle.name, params.base.name) == ("pets", "tiny")
    assert params.backends.xnnpack.context_length == 32


def test_nobody_to_ask_is_told() -> None:
    with pytest.raises(ConfigError, match="--base"):
        _init("new")


def test_no_fetch_looks_at_nothing(tmp_path: Path) -> None:
    _init("new", "--base", "hf:org/name@main", "--no-fetch")
    params = load_params(tmp_path / "new")
    assert (params.base.source, params.base.digest) == ("hf:org/name@main", None)
    assert params.base.name == "org/name"
    assert params.backends.xnnpack.context_length == 1024


@pytest.mark.parametrize("file", ["params.yaml", "dvc.yaml"])
def test_folder_in_use_is_refused_untouched(base: Path, tmp_path: Path, file: str) -> None:
    root = tmp_path / "used"
    root.mkdir()
    (root / file).write_text("mine: 1\n")
    with pytest.raises(ConfigError, match=file):
        _init("used", "--base", "models/tiny")
    assert [path.name for path in root.iterdir()] == [file]
    assert (root / file).read_text() == "mine: 1\n"


def test_missing_base_makes_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        _init("new", "--base", "models/other")
    assert not (tmp_path / "new" / "params.yaml").exists()


def test_context_beyond_the_base_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"at most the {TINY.max_context} tokens"):
        _init("new", "--base", "models/tiny", "--context-length", "65")
    assert not (tmp_path / "new" / "params.yaml").exists()


def test_name_that_no_bundle_can_have_is_refused_first() -> None:
    with pytest.raises(ConfigError, match="--name"):
        _init("new", "--base", "models/tiny", "--name", "My Bundle")


def test_interrupted_init_can_be_repeated(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ptefoundry.cli import new_workspace

    def interrupt(_root: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(new_workspace, "pin_toolchain", interrupt)
        CliRunner().invoke(app, ["init", "new", "--base", "models/tiny"])
    assert not (tmp_path / "new" / "params.yaml").exists()
    _init("new", "--base", "models/tiny")
    check_graph(tmp_path / "new")


def test_toolchain_is_pinned(tmp_path: Path) -> None:
    _init("new", "--base", "hf:org/name@main", "--no-fetch")
    assert "compile" in json.loads((tmp_path / "new" / "toolchain.json").read_text())
