import json
from pathlib import Path

import pytest

from ptefoundry.cli.coreml_cost import adapter_cost, program_bytes
from ptefoundry.errors import ArtifactError
from ptefoundry.params import load_params
from ptefoundry.workspace import Workspace

PARAMS = """\
bundle: {{name: assistant}}
base: {{name: org/model, source: 'file:base'}}
adapters: {{red: {{source: 'file:red'}}}}
backends: {backends}
smoke: {{prompts: [hello]}}
"""
BUILT = {
    "program_bytes": 10 * 1024**2,
    "variants": [
        {"adapter": "base", "text_bytes": 1024**2},
        {"adapter": "red", "text_bytes": 2 * 1024**2},
    ],
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    path = tmp_path / "artifacts" / "compile" / "coreml" / "sharing.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(BUILT))
    return Workspace(tmp_path)


def _cost(workspace: Workspace, backends: str = "{coreml: {}}") -> str:
    (workspace.root / "params.yaml").write_text(PARAMS.format(backends=backends))
    return adapter_cost(workspace, load_params(workspace.root), 512 * 1024)


def test_an_adapter_costs_its_matrices_and_the_text_of_its_methods(workspace: Workspace) -> None:
    assert _cost(workspace) == (
        "; compile-coreml compiles its one program with 4 methods anew (minutes each), about 3.0 "
        "MiB larger: 1.0 MiB of matrices, 1.0 MiB of text for each of 2 methods; apps receive the "
        "whole program again, 10.0 MiB so far"
    )
    assert "2 methods anew" in _cost(workspace, "{coreml: {multifunction: false}}")
    assert "2.0 MiB of matrices" in _cost(workspace, "{coreml: {dtype: fp32}}")
    assert _cost(workspace, "{xnnpack: {}}") == ""
    assert program_bytes(workspace) == 10 * 1024**2


def test_before_the_first_build_sizes_are_not_known(workspace: Workspace) -> None:
    path = workspace.artifacts / "compile" / "coreml" / "sharing.json"
    path.write_text("{")
    with pytest.raises(ArtifactError, match=r"sharing.json: expected what a build wrote"):
        program_bytes(workspace)
    path.unlink()
    assert program_bytes(workspace) is None
    assert _cost(workspace).endswith("(minutes each), of which apps receive the whole")
