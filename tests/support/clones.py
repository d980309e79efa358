"""Machines that clone one repository of a tiny workspace and share a cache on S3."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ptefoundry import s3
from support.seaweedfs import serve_s3
from support.tiny_workspace import TinyWorkspace

PROGRAM = str(Path(sys.executable).with_name("ptefoundry"))
BUCKET = "models"


@dataclass(frozen=True)
class Done:
    """What a command printed."""

    output: str
    errors: str

    @property
    def results(self) -> dict[str, str]:
        """Stage -> what a build with --json did."""
        return {stage["name"]: stage["result"] for stage in json.loads(self.output)["stages"]}

    @property
    def ran(self) -> set[str]:
        """Stages that a build with --json executed."""
        return {name for name, result in self.results.items() if result == "ran"}


@dataclass(frozen=True)
class Machine:
    """A clean clone with caches of its own."""

    root: Path
    environment: dict[str, str]
    enter: tuple[str, ...] = ()
    """What runs a command where the clone is, if that is elsewhere."""

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*self.enter, PROGRAM, *arguments],
            cwd=None if self.enter else self.root,
            env=self.environment | {"PTEFOUNDRY_CACHE": str(self.root / ".downloads")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *arguments: str, code: int = 0, **options: Any) -> Done:
        """Run a command that ends with that exit code, and never with a traceback."""
        return finish(self.start(*arguments, **options), code)

    def changed(self, **variables: str) -> "Machine":
        """The same clone with other variables."""
        return replace(self, environment=self.environment | variables)

    def files(self, *, measured: bool = False) -> dict[str, bytes]:
        """The bundle's, but for what is measured unless that is wanted."""
        bundle = self.root / "artifacts" / "bundle"
        return {
            path.relative_to(bundle).as_posix(): path.read_bytes()
            for path in bundle.rglob("*")
            if path.is_file() and (measured or path.name != "measured.json")
        }


def finish(process: "subprocess.Popen[str]", code: int = 0) -> Done:
    """Wait for a command that ends with that exit code, and never with a traceback."""
    output, errors = process.communicate()
    assert process.returncode == code, output + errors
    assert "Traceback" not in errors, errors
    return Done(output, errors)


@dataclass(frozen=True)
class Clones:
    """A repository of a workspace, and an S3 server where its machines share a cache."""

    origin: TinyWorkspace
    folder: Path
    url: str
    """Of the server."""
    variables: dict[str, str] = field(repr=False)

    def clone(self, name: str, prefix: str = "cache") -> Machine:
        """A new machine, whose shared cache is below a prefix of the bucket."""
        folder = self.folder / name
        command = ["git", "clone", "-q", str(self.origin.root), str(folder)]
        subprocess.run(command, check=True)
        remote = f"['remote \"shared\"']\n    url = s3://{BUCKET}/{prefix}\n"
        (folder / ".dvc" / "config.local").write_text(remote)
        return Machine(folder, self.origin.environment | self.variables)


@contextmanager
def cloned(origin: TinyWorkspace, folder: Path) -> Iterator[Clones]:
    """Make a workspace a repository with clones; nothing is in their shared cache yet.

    Args:
        origin: the workspace, which keeps its DVC cache; clones have their own.
        folder: for the server's data and the clones.
    """
    with serve_s3(folder / "seaweedfs") as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        s3.connect().create_bucket(Bucket=BUCKET)
        # DVC reads no settings from what is no file.
        (folder / "aws-config").touch()
        variables = server.environment() | {"AWS_CONFIG_FILE": str(folder / "aws-config")}
        _commit(origin)
        yield Clones(origin, folder, server.url, variables)


def _commit(origin: TinyWorkspace) -> None:
    add = origin.dvc("remote", "add", "-d", "shared", f"s3://{BUCKET}/cache")
    subprocess.run(add, cwd=origin.root, check=True)
    # Its clones have caches of their own.
    config = origin.root / ".dvc" / "config"
    lines = config.read_text().splitlines(keepends=True)
    of_the_cache = [line for line in lines if line.strip().startswith("dir =")]
    config.write_text("".join(line for line in lines if line not in of_the_cache))
    (origin.root / ".dvc" / "config.local").write_text("[cache]\n" + "".join(of_the_cache))
    (origin.root / ".gitignore").write_text("/artifacts/\n/.cache/\n/.downloads/\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in (["add", "-A"], ["commit", "-qm", "A workspace"]):
        subprocess.run(["git", *identity, *command], cwd=origin.root, check=True)


def copy_prefix(source: str, target: str) -> None:
    """Copy all that is below a prefix of the bucket to another."""
    client = s3.connect()
    for key in keys_below(source):
        client.copy_object(
            Bucket=BUCKET,
            Key=target + key.removeprefix(source),
            CopySource={"Bucket": BUCKET, "Key": key},
        )


def keys_below(prefix: str) -> list[str]:
    """Keys of the bucket that begin with it."""
    pages = s3.connect().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


def take_lock(source: Machine, target: Machine) -> None:
    """Give a clone what another has recorded of its build, as git would."""
    shutil.copy(source.root / "dvc.lock", target.root)
