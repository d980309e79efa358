"""A release that several machines build at once, and one assembles from the shared cache."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ptefoundry import s3
from support.seaweedfs import serve_s3
from support.tiny_workspace import TinyWorkspace

PROGRAM = str(Path(sys.executable).with_name("ptefoundry"))
BUCKET = "models"


@dataclass(frozen=True)
class Clones:
    """A repository of a workspace, and machines that each clone it."""

    origin: TinyWorkspace
    folder: Path
    variables: dict[str, str]

    def clone(self, name: str) -> "Machine":
        folder = self.folder / name
        command = ["git", "clone", "-q", str(self.origin.root), str(folder)]
        subprocess.run(command, check=True)
        return Machine(folder, self.origin.environment | self.variables)


@dataclass(frozen=True)
class Machine:
    """A clean clone with a cache of its own."""

    root: Path
    environment: dict[str, str]

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [PROGRAM, *arguments],
            cwd=self.root,
            env=self.environment | {"PTEFOUNDRY_CACHE": str(self.root / ".downloads")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        """What the command prints; of a failure its messages."""
        return finish(self.start(*arguments), code)

    def files(self) -> dict[str, bytes]:
        """The bundle's, but for what was measured."""
        bundle = self.root / "artifacts" / "bundle"
        return {
            path.relative_to(bundle).as_posix(): path.read_bytes()
            for path in bundle.rglob("*")
            if path.is_file() and path.name != "measured.json"
        }


def finish(process: "subprocess.Popen[str]", code: int = 0) -> str:
    output, errors = process.communicate()
    assert process.returncode == code, output + errors
    return output if code == 0 else errors


def ran(printed: str) -> set[str]:
    """Stages that a build with --json ran."""
    stages = json.loads(printed)["stages"]
    return {stage["name"] for stage in stages if stage["result"] == "ran"}


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Clones]:
    """The shared cache has the runner, which takes minutes to compile, and nothing else."""
    folder = tmp_path_factory.mktemp("fan-out")
    origin = TinyWorkspace(folder / "origin", shared_cache, adapters=("red", "blue", "green"))
    with serve_s3(folder / "seaweedfs") as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        s3.connect().create_bucket(Bucket=BUCKET)
        # DVC reads no settings from what is no file.
        (folder / "aws-config").touch()
        variables = server.environment() | {"AWS_CONFIG_FILE": str(folder / "aws-config")}
        found = Clones(origin, folder, variables)
        dvc = origin.dvc("remote", "add", "-d", "shared", f"s3://{BUCKET}/cache")
        subprocess.run(dvc, cwd=origin.root, check=True)
        seeding = Machine(origin.root, origin.environment | found.variables)
        seeding.run("build", "--only", "build-runner", "--push")
        unset = origin.dvc("config", "--unset", "cache.dir")
        subprocess.run(unset, cwd=origin.root, check=True)
        (origin.root / "dvc.lock").unlink()
        (origin.root / ".gitignore").write_text("/artifacts/\n/.cache/\n/.downloads/\n")
        for command in (["add", "-A"], ["commit", "-qm", "A workspace"]):
            identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
            subprocess.run(["git", *identity, *command], cwd=origin.root, check=True)
        yield found


def test_legs_at_once_make_what_one_machine_makes(clones: Clones) -> None:
    alone = clones.clone("alone")
    alone.run("build", "--pull")

    refusal = clones.clone("early").run("build", "--pull", "--assemble", code=5)
    assert "--assemble: expected this stage's outputs in the cache" in refusal

    planner = clones.clone("planner")
    matrix = json.loads(planner.run("plan", "--github-matrix", "--batch", "2"))
    legs = matrix["include"]
    assert [leg["arguments"] for leg in legs] == [
        "--backend xnnpack --adapter base --adapter red",
        "--backend xnnpack --adapter blue --adapter green",
    ]
    machines = [clones.clone(leg["name"]) for leg in legs]
    processes = [
        machine.start("build", "--pull", "--push", *leg["arguments"].split(), "--json")
        for machine, leg in zip(machines, legs, strict=True)
    ]
    first, second = (ran(finish(process)) for process in processes)
    assert {"smoke-base@xnnpack", "smoke@xnnpack-red"} == {
        name for name in first if "smoke" in name
    }
    assert {"smoke@xnnpack-blue", "smoke@xnnpack-green"} == {
        name for name in second if "smoke" in name
    }

    assembler = clones.clone("assembler")
    assert ran(assembler.run("build", "--pull", "--assemble", "--json")) == {"bundle"}
    assert assembler.files() == alone.files()
    assert "manifest.json" in assembler.files()

    # What a Mac takes of it to compare the answers of a Core ML program (release.yml).
    device = clones.clone("device")
    shutil.copy(assembler.root / "dvc.lock", device.root)
    pull = clones.origin.dvc("pull", "-q", "convert-base", "convert-adapter")
    subprocess.run(pull, cwd=device.root, env=device.environment, check=True)
    artifacts = device.root / "artifacts"
    assert (artifacts / "base/canonical/model.safetensors").is_file()
    assert len(list((artifacts / "adapters/canonical").iterdir())) == 3
    assert not (artifacts / "link").exists()
