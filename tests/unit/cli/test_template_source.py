"""A build asks the workspace's registry for templates before it compiles any."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ptefoundry.cli import build_place
from ptefoundry.cli.main import app
from ptefoundry.cli.stage_output import StageListener
from ptefoundry.errors import FoundryError
from ptefoundry.lowering.store import TemplateStore, workspace_stores
from ptefoundry.lowering.template import load_template, save_template
from ptefoundry.registry.registry import init_registry
from ptefoundry.registry.store.file import FileStore
from ptefoundry.registry.templates import RegistryTemplates
from ptefoundry.workspace import Workspace
from support.golden_template import SIGNATURE, keep_template, write_adapter

Asked = list[tuple[str, ...]]


@pytest.fixture
def asked(converted: Workspace, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The targets that DVC was asked for; it converts adapters and does nothing else."""
    calls: Asked = []

    def run(
        root: Path, targets: tuple[str, ...], listener: StageListener, *, verbose: bool
    ) -> None:
        calls.append(targets)
        for stage in targets:
            write_adapter(Workspace(root).canonical_adapter(stage.removeprefix("convert-adapter@")))
            listener.finished(stage, "ran", 0.5)
        listener.finished("convert-adapter@red", "unchanged", 0.0)

    monkeypatch.setattr(build_place, "run_stages", run)
    return calls


@pytest.fixture
def registry(converted: Workspace, tmp_path: Path) -> Path:
    """A registry that the workspace names, with the template of its adapters."""
    folder = tmp_path / "registry"
    store = FileStore(folder)
    init_registry(store)
    scratch = TemplateStore(tmp_path / "scratch")
    key = keep_template(converted, scratch, SIGNATURE)
    RegistryTemplates(store).add(load_template(scratch.folder / key))
    params = converted.root / "params.yaml"
    params.write_text(f"{params.read_text()}\nregistry:\n  url: file:{folder}\n")
    return folder


def _build(*options: str) -> str:
    result = CliRunner().invoke(app, ["build", *options])
    if isinstance(result.exception, FoundryError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stderr


def _kept(workspace: Workspace) -> list[str]:
    own, cache = workspace_stores(workspace.root)
    assert not list(own.keys())
    return list(cache.keys())


@pytest.mark.usefixtures("registry", "asked")
def test_templates_come_from_the_registry(converted: Workspace) -> None:
    notes = _build()
    (key,) = _kept(converted)
    assert f"blue, red: template {key[:16]} comes from file:" in notes
    assert "comes from" not in _build()


@pytest.mark.usefixtures("registry")
def test_what_tells_the_templates_runs_first(converted: Workspace, asked: Asked) -> None:
    shutil.rmtree(converted.canonical_adapter("red"))
    lines = _build()
    assert asked == [("convert-adapter@red",), ()]
    assert len(_kept(converted)) == 1
    # The second time that DVC says of a stage that it is up to date is not told.
    assert lines.count("convert-adapter@red") == 1


@pytest.mark.usefixtures("registry", "asked")
def test_no_templates_are_asked_for_that_are_built(
    converted: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for signature in ({}, SIGNATURE):
        scratch = TemplateStore(tmp_path / "scratch")
        key = keep_template(converted, scratch, signature)
        built = converted.artifacts / "compile" / "xnnpack" / key
        save_template(load_template(scratch.folder / key), built)
    monkeypatch.setattr(RegistryTemplates, "find", lambda *_: pytest.fail("asked"))
    _build()
    assert _kept(converted) == []


@pytest.mark.usefixtures("asked")
def test_a_registry_that_is_not_there_is_a_warning(
    converted: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTEFOUNDRY_REGISTRY", f"file:{tmp_path / 'nowhere'}")
    assert "warning: no templates are taken from the registry: " in _build()


@pytest.mark.usefixtures("asked")
def test_a_damaged_template_is_a_warning(converted: Workspace, registry: Path) -> None:
    for path in registry.glob("templates/*/program.bin"):
        path.write_bytes(b"")
    assert "program.bin: sha256: expected" in _build()
    assert _kept(converted) == []


@pytest.mark.usefixtures("registry", "asked")
def test_unsigned_templates_are_not_taken_where_keys_are_trusted(
    converted: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = (Path(__file__).parents[2] / "golden" / "registry-v1.pem").read_text()
    monkeypatch.setenv("PTEFOUNDRY_TRUST", pem)
    assert "the trust policy names keys" in _build()
    assert _kept(converted) == []
