"""A workspace that is built in a container, and built again in others."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from integration.sources.package_index import pip_environment, write_wheel

from ptefoundry.container.engine import JOB_LABEL, Engine
from ptefoundry.container.image import Image
from ptefoundry.container.recipe import Recipe
from support.container_engine import OwnEngine
from support.tiny_workspace import TinyWorkspace

PORT = "8765"
PROGRAM = str(Path(sys.executable).with_name("ptefoundry"))


@dataclass(frozen=True)
class Built:
    """A workspace after its first build."""

    workspace: TinyWorkspace
    stages: dict[str, str]
    """Stage -> what the build did with it."""

    @property
    def root(self) -> Path:
        return self.workspace.root

    def run(self, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        return _run(self.workspace, *arguments, code=code)


def _run(
    workspace: TinyWorkspace, *arguments: str, code: int = 0
) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [PROGRAM, *arguments],
        cwd=workspace.root,
        env=workspace.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def _stages(printed: str) -> dict[str, str]:
    return {stage["name"]: stage["result"] for stage in json.loads(printed)["stages"]}


@dataclass(frozen=True)
class Interrupted:
    """A workspace whose first build was interrupted."""

    workspace: TinyWorkspace
    code: int
    said: str
    finished: set[str]
    """Stages that had ended before."""
    containers: list[str]
    """What was left of them."""


@pytest.fixture(scope="module")
def interrupted(
    tmp_path_factory: pytest.TempPathFactory, engine: Engine, recipe: Recipe, image: Image
) -> Interrupted:
    folder = tmp_path_factory.mktemp("container-build")
    workspace = TinyWorkspace(folder / "workspace", folder / "dvc-cache", adapters={"red": 4})
    # As in a clone of this project: what runs in the container is not that.
    (workspace.root / "ptefoundry").mkdir()
    (workspace.root / "ptefoundry" / "__init__.py").touch()
    build = _start_build(workspace)
    said = _read_until(build, "convert-base")
    # As a terminal does it, to all processes of the command.
    os.killpg(build.pid, signal.SIGINT)
    assert build.stderr is not None
    rest = build.stderr.read()
    code = build.wait()
    finished = {line.split()[0] for line in said if " ran " in line}
    filters = {"label": f"{JOB_LABEL}=build {workspace.root}"}
    left = [one["Id"] for one in engine.api.containers(all=True, filters=filters)]
    return Interrupted(workspace, code, "".join(said) + rest, finished, left)


@pytest.fixture(scope="module")
def built(interrupted: Interrupted) -> Built:
    workspace = interrupted.workspace
    return Built(workspace, _stages(_run(workspace, "build", "--container", "--json").stdout))


def _start_build(workspace: TinyWorkspace) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [PROGRAM, "build", "--container"],
        cwd=workspace.root,
        env=workspace.environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _read_until(build: "subprocess.Popen[str]", word: str) -> list[str]:
    """What the build says, up to the line with that word."""
    assert build.stderr is not None
    said = [next(build.stderr)]
    while word not in said[-1]:
        said.append(next(build.stderr))
    return said


def test_interrupt_ends_the_command_and_its_container(interrupted: Interrupted) -> None:
    assert interrupted.code == 130, interrupted.said
    assert "Traceback" not in interrupted.said
    assert "convert-base" in interrupted.finished
    assert interrupted.containers == []
    assert not (interrupted.workspace.root / "artifacts" / "bundle").exists()


def test_all_stages_run_in_the_image(built: Built, interrupted: Interrupted, image: Image) -> None:
    assert set(built.stages.values()) == {"ran", "unchanged"}
    unchanged = {stage for stage, result in built.stages.items() if result == "unchanged"}
    # Nothing that was finished before the interrupt runs again; more may have ended meanwhile.
    assert interrupted.finished <= unchanged
    assert "bundle" not in unchanged
    toolchain = json.loads((built.root / "toolchain.json").read_text())
    assert {section["image"] for section in toolchain.values()} == {image.digest}
    # And not one thing belongs to somebody else.
    owners = {path.lstat().st_uid for path in built.root.rglob("*")}
    assert owners == {os.getuid()}


def test_the_image_is_part_of_the_provenance(
    built: Built, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = tmp_path / "registry"
    monkeypatch.setenv("PTEFOUNDRY_REGISTRY", f"file:{registry}")
    built.run("registry", "init")
    built.run("push", "--version", "1.0.0")
    small = [path for path in registry.rglob("*") if path.is_file() and path.stat().st_size < 1e6]
    (statement,) = (path for path in small if b"resolvedDependencies" in path.read_bytes())
    definition = json.loads(statement.read_text())["predicate"]["buildDefinition"]
    dependencies = {one["name"]: one for one in definition["resolvedDependencies"]}
    assert dependencies["image"]["digest"] == {"sha256": image.digest}


def test_nothing_runs_again(built: Built) -> None:
    done = built.run("build", "--container", "--json")
    assert set(_stages(done.stdout).values()) == {"unchanged"}
    planned = json.loads(built.run("plan", "--container", "--json").stdout)
    assert [stage["name"] for stage in planned["stages"] if stage["reasons"]] == []


def test_two_other_containers_make_the_same_bytes(built: Built) -> None:
    done = built.run("rebuild", "--verify", "--independent", "--json")
    builds = json.loads(done.stdout)["builds"]
    assert [build["name"] for build in builds] == ["first", "second"]
    for build in builds:
        assert build["differences"] == []
        # Programs, foundation, tokenizer, manifest; the runner and its libraries.
        assert build["files"] > 8
        assert build["bytes"] > 10_000_000


def test_without_the_image_it_is_another_toolchain(built: Built) -> None:
    done = built.run("rebuild", "--verify", code=2)
    assert "an image is for --independent" in done.stderr


@contextmanager
def _index(engine: Engine, own: OwnEngine | None, folder: Path) -> Iterator[str]:
    """Address of a package index that containers with network reach."""
    (network,) = engine.api.inspect_network("bridge")["IPAM"]["Config"]
    host = network.get("Gateway") or network["Subnet"].replace(".0/16", ".1")
    options = ("--bind", host, "--directory", str(folder), PORT)
    command = (sys.executable, "-u", "-m", "http.server", *options)
    server = subprocess.Popen(
        command if own is None else own.beside(*command),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        assert "Serving HTTP" in server.stdout.readline()
        yield f"http://{host}:{PORT}"
    finally:
        server.terminate()
        server.wait()


def test_fetching_alone_has_network(
    built: Built,
    engine: Engine,
    own: OwnEngine | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapter = {
        f"tiny_adapter/{path.name}": path.read_bytes()
        for path in (built.root / "models" / "red").iterdir()
    }
    wheel = write_wheel(tmp_path / "tiny-adapter", "tiny_adapter", "1.0", adapter)
    (wheel.parent / "index.html").write_text(f'<!DOCTYPE html><a href="{wheel.name}">wheel</a>')
    new = "\n  blue:\n    source: pypi:tiny-adapter==1.0/tiny_adapter\n"
    built.workspace.replace_params("\nadapters:\n", f"\nadapters:{new}")
    begun = int(time.time())
    with _index(engine, own, tmp_path) as address:
        variables = pip_environment(address) | {"PIP_TRUSTED_HOST": address[7:].split(":")[0]}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        wanted = ("--only", "convert-adapter@blue")
        stages = _stages(built.run("build", "--container", *wanted, "--json").stdout)
    assert stages["fetch-remote-adapter@blue"] == "ran"
    assert stages["convert-adapter@blue"] == "ran"
    chosen = {"type": "network", "event": "connect"}
    events = engine.api.events(begun, int(time.time()) + 1, filters=chosen, decode=True)
    # What asks for the toolchain, what fetches, and all the rest.
    networks = [event["Actor"]["Attributes"]["name"] for event in events]
    assert networks == ["none", "bridge", "none"]
    built.workspace.replace_params(new, "\n")


def test_an_engine_that_is_lost_half_way(built: Built, own: OwnEngine | None) -> None:
    """The message says what to do; then the build goes on, and ends with the right bytes."""
    if own is None:
        pytest.skip("the engine was running before: it is not killed")
    before = _files(built.root)
    built.workspace.replace_params("prefill_length: 32", "prefill_length: 16")
    build = _start_build(built.workspace)
    _read_until(build, "signatures")
    # It compiles now.
    own.kill()
    assert build.stderr is not None
    rest = build.stderr.read()
    assert build.wait() == 5, rest
    assert "does not answer any more" in rest
    assert "run the same command again" in rest
    assert "Traceback" not in rest
    own.start()
    built.run("build", "--container")
    built.run("inspect", "artifacts/bundle", "--verify")
    assert _files(built.root).keys() == before.keys()
    assert _files(built.root) != before
    built.workspace.replace_params("prefill_length: 16", "prefill_length: 32")
    assert "ran" not in _stages(built.run("build", "--container", "--json").stdout).values()
    assert _files(built.root) == before


def _files(root: Path) -> dict[str, bytes]:
    bundle = root / "artifacts" / "bundle"
    paths = (path for path in bundle.rglob("*") if path.is_file() and path.name != "measured.json")
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in paths}
