"""What an image is made of: Dockerfile, locks, base, wheels."""

import platform
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ptefoundry.container.engine import Engine
from ptefoundry.digest import hash_file, hash_json
from ptefoundry.errors import ConfigError

BASE_VARIABLE = "PTEFOUNDRY_BASE_IMAGE"
WHEELHOUSE_VARIABLE = "PTEFOUNDRY_WHEELHOUSE"

DOCKERFILE = "Dockerfile"
_LOCKS = ("requirements-pip.lock", "requirements-torch.lock", "requirements-build.lock")
_WHEEL_FOLDERS = ("torch", "locked")
_BYTECODE = "ptefoundry/container/bytecode.py"

#: Of files in the build's context; any will do that is always the same.
_TIME_S = 1767225600


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What an image is built from."""

    base: str | None = None
    """An image that the engine has, or `name@sha256:...`; None for the Dockerfile's own."""
    wheelhouse: Path | None = None
    """What `make wheelhouse` gathered; None to download packages."""


def usual_recipe(environment: Mapping[str, str]) -> Recipe:
    """The recipe on this machine: base and wheelhouse as variables name them.

    A wheelhouse beside the Dockerfile is used without being named.
    """
    beside = image_sources() / "wheelhouse"
    folder = environment.get(WHEELHOUSE_VARIABLE)
    wheelhouse = Path(folder) if folder else beside if beside.is_dir() else None
    if wheelhouse is not None and not wheelhouse.is_dir():
        raise ConfigError(
            f"{WHEELHOUSE_VARIABLE}={wheelhouse}: expected a folder that `make wheelhouse` made, "
            "found none"
        )
    return Recipe(base=environment.get(BASE_VARIABLE) or None, wheelhouse=wheelhouse)


def recipe_digest(engine: Engine, recipe: Recipe) -> str:
    """Digest of what determines an image's content, in hex.

    A wheelhouse is not part of it: all wheels but torch's are locked by their digests.

    Raises:
        ConfigError: the base is no fixed image.
    """
    return hash_json(
        {
            "files": {name: hash_file(path) for name, path in _files().items()},
            "base": None if recipe.base is None else _fixed_base(engine, recipe.base),
            "machine": platform.machine(),
        }
    )


def image_sources() -> Path:
    """The folder with the Dockerfile and the locks.

    Raises:
        ConfigError: this installation carries none.
    """
    package = Path(__file__).parent.parent
    for folder in (package / "image", package.parent):
        if (folder / DOCKERFILE).is_file():
            return folder
    raise ConfigError(
        f"{package}: expected the image's Dockerfile beside the package, found none; install "
        "ptefoundry again"
    )


def _fixed_base(engine: Engine, base: str) -> str:
    found = engine.inspect_image(base)
    if found is not None:
        return str(found["Id"])
    if "@sha256:" not in base:
        raise ConfigError(
            f"base image {base}: expected one that the container engine has, or name@sha256:..., "
            "as a tag may become another image; pull it first, or name its digest"
        )
    return base.rpartition("@")[2]


def pack_context(recipe: Recipe, file: IO[bytes]) -> None:
    """What the Dockerfile copies, with fixed times: engines reuse layers of equal files."""
    named = _files()
    if recipe.wheelhouse is not None:
        for path in sorted(recipe.wheelhouse.rglob("*")):
            if path.suffix in {".whl", ".gz"}:
                named[f"wheelhouse/{path.relative_to(recipe.wheelhouse).as_posix()}"] = path
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, path in named.items():
            archive.add(path, name, filter=_settled)
        # They are mounted, with or without something in them.
        for name in _WHEEL_FOLDERS:
            folder = tarfile.TarInfo(f"wheelhouse/{name}")
            folder.type = tarfile.DIRTYPE
            archive.addfile(_settled(folder))


def _files() -> dict[str, Path]:
    """What the Dockerfile is and copies, by its names, but for the wheels."""
    sources = image_sources()
    named = {name: sources / name for name in (DOCKERFILE, *_LOCKS)}
    return {**named, _BYTECODE: Path(__file__).with_name("bytecode.py")}


def _settled(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() else 0o644
    member.mtime = _TIME_S
    return member
