"""Building images: twice to the same content, and of a base that only a registry has.

Of few packages, as all of them take minutes.
"""

import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptefoundry.container.engine import Engine, connect
from ptefoundry.container.image import build_image, find_built_image
from ptefoundry.container.recipe import Recipe
from ptefoundry.errors import ContainerError
from support.container_engine import OwnEngine
from support.small_image import small_sources, small_wheelhouse, write_sources

ROOT = Path(__file__).parents[3]
WHO = {"username": "someone", "password": "secret"}
#: With bcrypt of the password, as docker-registry wants it.
HTPASSWD = "someone:$2b$04$i8Vh0ZMyBUm6fVYfS9WnVeFYfh025FtREqXUcCHf6UT2dy.C16Y0a"
START_S = 30


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What recipes are made of: the Dockerfile with few packages."""
    folder = small_sources(ROOT, tmp_path / "sources")
    monkeypatch.setattr("ptefoundry.container.recipe.image_sources", lambda: folder)
    return folder


@pytest.fixture
def small(recipe: Recipe, sources: Path, tmp_path: Path) -> Recipe:
    """The small image's recipe."""
    assert recipe.wheelhouse is not None
    return Recipe(
        base=recipe.base, wheelhouse=small_wheelhouse(recipe.wheelhouse, tmp_path / "wheels")
    )


def test_building_twice_gives_the_same_content(
    engine: Engine, small: Recipe, tmp_path: Path
) -> None:
    one = build_image(engine, small, tmp_path / "one", lambda _line: None)
    # What is copied has another time, and everything else happens at another time.
    for path in tmp_path.rglob("*.lock"):
        os.utime(path, (1, 1))
    said: list[str] = []
    other = build_image(engine, small, tmp_path / "other", said.append, afresh=True)
    assert one.id != other.id
    assert one.digest == other.digest
    assert any("bytecode.py" in line for line in said)
    built = engine.inspect_image(other.id)
    assert built is not None
    assert built["Config"]["User"] == "1000:1000"
    assert find_built_image(engine, small, tmp_path / "other") == other
    for image in (one, other):
        engine.api.remove_image(image.id, force=True)


def test_podman_builds_the_same_content(
    engine: Engine, podman: Engine, podman_base: str, small: Recipe, tmp_path: Path
) -> None:
    other = Recipe(base=podman_base, wheelhouse=small.wheelhouse)
    built = {
        engine: build_image(engine, small, tmp_path / "docker", lambda _line: None),
        podman: build_image(podman, other, tmp_path / "podman", lambda _line: None),
    }
    assert len({image.digest for image in built.values()}) == 1
    for builder, image in built.items():
        builder.api.remove_image(image.id, force=True)


@pytest.fixture
def registry(own: OwnEngine | None, tmp_path: Path) -> Iterator[str]:
    """Address of a registry beside the engine that wants a password."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed: `make test-packages` installs it")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    passwords, config, log = (tmp_path / name for name in ("passwords", "registry.yml", "log"))
    passwords.write_text(f"{HTPASSWD}\n")
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "data")}},
        "http": {"addr": address},
        "auth": {"htpasswd": {"realm": "here", "path": str(passwords)}},
    }
    config.write_text(json.dumps(settings))
    command = [program, "serve", str(config)]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command if own is None else own.beside(*command), stdout=file, stderr=file
        )
    try:
        end = time.monotonic() + START_S
        while "listening on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()


def _publish(engine: Engine, name: str) -> str:
    """A base with one file, which the registry alone has then; its name with its digest."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        member = tarfile.TarInfo("file")
        archive.addfile(member)
    layer.seek(0)
    engine.api.import_image_from_data(layer, repository=name, tag="one")
    pushed = engine.api.push(name, "one", stream=True, decode=True, auth_config=WHO)
    events = list(pushed)
    (digest,) = {event["aux"]["Digest"] for event in events if "aux" in event} or {str(events)}
    engine.api.remove_image(f"{name}:one", force=True)
    return f"{name}@{digest}"


def test_base_is_pulled_as_whom_the_user_is_signed_in(
    engine: Engine, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = _publish(engine, f"{registry}/base")
    folder = write_sources(
        tmp_path / "sources", "ARG BASE\nFROM ${BASE}\nCOPY requirements-pip.lock /\n"
    )
    monkeypatch.setattr("ptefoundry.container.recipe.image_sources", lambda: folder)
    recipe = Recipe(base=base)
    with pytest.raises(ContainerError, match=r"pulling 127\.0\.0\.1.*sign in to its registry"):
        build_image(engine, recipe, tmp_path / "cache", print)
    token = b64encode(":".join(WHO.values()).encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry: {"auth": token}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with connect() as signed_in:
        image = build_image(signed_in, recipe, tmp_path / "cache", print)
        # What the engine has now makes no other image of it.
        assert find_built_image(signed_in, recipe, tmp_path / "cache") == image
        signed_in.api.remove_image(image.id, force=True)
        signed_in.api.remove_image(base, force=True)
