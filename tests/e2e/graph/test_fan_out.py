"""A release that several machines build at once, and one assembles from the shared cache."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clones import Clones, Machine, cloned, finish, take_lock
from support.tiny_workspace import TinyWorkspace


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Clones]:
    """Three adapters of two templates. What compiles for long is there already."""
    folder = tmp_path_factory.mktemp("fan-out")
    ranks = {"red": 4, "blue": 8, "green": 8}
    origin = TinyWorkspace(folder / "origin", shared_cache, adapters=ranks)
    with cloned(origin, folder) as found:
        seeding = Machine(origin.root, origin.environment | found.variables)
        seeding.run("build", "--only", "build-runner", "--only", "compile@xnnpack", "--push")
        yield found


def _smoked(stages: set[str]) -> set[str]:
    return {name for name in stages if name.startswith("smoke")}


def _plan(machine: Machine) -> str:
    return machine.run("plan", "--pull", "--github-matrix").output


def test_legs_at_once_make_what_one_machine_makes(release: Clones) -> None:
    alone = release.clone("alone")
    alone.run("build", "--pull")

    refused = release.clone("early").run("build", "--pull", "--assemble", code=5)
    assert "--assemble: expected this stage's outputs in the cache" in refused.errors

    matrix = json.loads(_plan(release.clone("planner")))
    legs = matrix["include"]
    assert [leg["arguments"] for leg in legs] == [
        "--backend xnnpack --adapter base --adapter red",
        "--backend xnnpack --adapter blue --adapter green",
    ]
    machines = [release.clone(leg["name"]) for leg in legs]
    processes = [
        machine.start("build", "--pull", "--push", *leg["arguments"].split(), "--json")
        for machine, leg in zip(machines, legs, strict=True)
    ]
    first, second = (finish(process).ran for process in processes)
    assert _smoked(first) == {"smoke-base@xnnpack", "smoke@xnnpack-red"}
    assert _smoked(second) == {"smoke@xnnpack-blue", "smoke@xnnpack-green"}

    assembler = release.clone("assembler")
    assert assembler.run("build", "--pull", "--assemble", "--json").ran == {"bundle"}
    assert "manifest.json" in assembler.files()
    assert assembler.files() == alone.files()

    # The same release again needs no machine but the one that assembles.
    assert _plan(release.clone("planner-again")) == '{"include":[]}\n'

    # What a Mac takes of it to compare the answers of a Core ML program (release.yml).
    device = release.clone("device")
    take_lock(assembler, device)
    pull = release.origin.dvc("pull", "-q", "convert-base", "convert-adapter")
    subprocess.run(pull, cwd=device.root, env=device.environment, check=True)
    artifacts = device.root / "artifacts"
    assert (artifacts / "base/canonical/model.safetensors").is_file()
    assert len(list((artifacts / "adapters/canonical").iterdir())) == 3
    assert not (artifacts / "link").exists()
