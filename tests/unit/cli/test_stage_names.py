import subprocess
import sys
from pathlib import Path

from ptefoundry.cli.stage_names import stage_descriptions
from ptefoundry.graph import graph_text, sync_graph
from ptefoundry.params import load_params


def test_names_are_those_of_dvc(workspace: Path) -> None:
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("file:models/blue", "hf:org/blue@main"))
    sync_graph(workspace)
    (workspace / "dvc.lock").unlink()
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "--quiet"], cwd=workspace, check=True)
    listed = subprocess.run(
        [*dvc, "stage", "list"], cwd=workspace, check=True, capture_output=True, text=True
    )
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    found = stage_descriptions(graph_text(load_params(workspace)))
    assert sorted(found) == sorted(names)
    assert all(found.values())
