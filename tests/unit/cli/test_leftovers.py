from pathlib import Path

import pytest

from ptefoundry.cli.leftovers import find_leftovers, remove_leftovers
from ptefoundry.params import load_params
from ptefoundry.workspace import Workspace

_GREEN = (
    "adapters/canonical/green",
    "adapters/fetched/green",
    "adapters/fetched/green.sha256",
    "link/xnnpack/green.pte",
    "reference/green",
    "smoke/xnnpack/green",
)
_KEPT = (
    "adapters/fetched/red/adapter_config.json",
    "adapters/fetched/red.sha256",
    "adapters/fetched/.red.tmp/part",
    "base/fetched/model.safetensors",
    "bundle/xnnpack/green.pte",
    "compile/xnnpack/base.pte",
    "link/xnnpack/red.pte",
    "link/xnnpack/green.log",
    "reference/base/logits",
    "reference/Notes/file",
    "runner/bin/program",
    "smoke/xnnpack/base/metrics.json",
    "smoke/xnnpack/.gitignore",
)


@pytest.fixture
def built(workspace: Path) -> Workspace:
    for name in (*_KEPT, *_GREEN):
        path = workspace / "artifacts" / name
        path = path if path.suffix or name in _KEPT else path / "file"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return Workspace(workspace)


def test_only_outputs_of_missing_adapters_are_found(built: Workspace) -> None:
    found = find_leftovers(built, load_params(built.root))
    assert [path.relative_to(built.artifacts).as_posix() for path in found] == list(_GREEN)


@pytest.mark.parametrize("embedding", ["none", "4,32"])
def test_quantized_answers_go_with_the_quantization(built: Workspace, embedding: str) -> None:
    params = built.root / "params.yaml"
    params.write_text(
        params.read_text().replace("xnnpack:", f"xnnpack:\n    embedding: {embedding}")
    )
    for name in ("base", "red", "green"):
        (built.artifacts / "quantized-reference" / "xnnpack" / name).mkdir(parents=True)
    remove_leftovers(built, load_params(built.root))
    left = [path.name for path in (built.artifacts / "quantized-reference/xnnpack").iterdir()]
    assert sorted(left) == ([] if embedding == "none" else ["base", "red"])


def test_everything_else_stays(built: Workspace) -> None:
    remove_leftovers(built, load_params(built.root))
    for name in _KEPT:
        assert (built.artifacts / name).is_file(), name
    for name in _GREEN:
        assert not (built.artifacts / name).exists(), name
    assert remove_leftovers(built, load_params(built.root)) == []


def test_link_is_removed_and_not_followed(built: Workspace, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    link = built.artifacts / "reference" / "purple"
    link.symlink_to(tmp_path / "precious")
    assert link in remove_leftovers(built, load_params(built.root))
    assert not link.is_symlink()
    assert (tmp_path / "precious").is_dir()


def test_nothing_built_is_nothing_left(workspace: Path) -> None:
    assert find_leftovers(Workspace(workspace), load_params(workspace)) == []
