"""What an image is made of: Dockerfile, locks, base, wheels or an index of them."""

import io
import platform
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ptefoundry.container.engine import Engine
from ptefoundry.container.index import PackageIndex, usual_index
from ptefoundry.digest import hash_file, hash_json
from ptefoundry.errors import ConfigError

BASE_VARIABLE = "PTEFOUNDRY_BASE_IMAGE"
WHEELHOUSE_VARIABLE = "PTEFOUNDRY_WHEELHOUSE"

DOCKERFILE = "Dockerfile"
_LOCKS = ("requirements-pip.lock", "requirements-torch.lock", "requirements-build.lock")
#: Mounted by the Dockerfile, with or without something in them.
_FOLDERS = ("torch", "locked", "index")
_PROGRAMS = ("bytecode.py", "torch_build.py")
_TORCH_WHEELS = "torch/torch-*.whl"
#: Where the Dockerfile mounts the index's folder, and its file of certificate authorities.
_INDEX, _AUTHORITIES = Path("/media"), "ca.pem"

_BASE = re.compile(r"^ARG BASE=(\S+)$", re.MULTILINE)
_TAG = re.compile(r":[^/]*$")

#: Of files in the build's context; any will do that is always the same.
_TIME_S = 1767225600


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What an image is built from."""

    base: str | None = None
    """An image that the engine has, or `name@sha256:...`; None for the Dockerfile's own."""
    wheelhouse: Path | None = None
    """What `make wheelhouse` gathered; None to download packages."""
    index: PackageIndex = field(default_factory=PackageIndex)
    """Where they are downloaded from."""


def usual_recipe(environment: Mapping[str, str]) -> Recipe:
    """The recipe on this machine: base, wheelhouse and indexes as variables name them.

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
    return Recipe(
        base=environment.get(BASE_VARIABLE) or None,
        wheelhouse=wheelhouse,
        index=usual_index(environment),
    )


def recipe_digest(engine: Engine, recipe: Recipe) -> str:
    """Digest of what determines an image's content, in hex.

    All packages but torch are locked by their digests. Which build of torch there will be is up
    to the wheelhouse, else to the indexes.

    Raises:
        ConfigError: the base is no fixed image.
    """
    return hash_json(
        {
            "files": {name: hash_file(path) for name, path in _files().items()},
            "base": None if recipe.base is None else _fixed_base(engine, recipe.base),
            "machine": platform.machine(),
            "torch": _torch_identity(recipe),
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


def _torch_identity(recipe: Recipe) -> Mapping[str, Any]:
    wheelhouse = recipe.wheelhouse
    wheels = sorted(wheelhouse.glob(_TORCH_WHEELS)) if wheelhouse is not None else []
    return {wheel.name: hash_file(wheel) for wheel in wheels} or recipe.index.identity()


def _fixed_base(engine: Engine, base: str) -> str:
    if "@sha256:" in base:
        return base.rpartition("@")[2]
    found = engine.inspect_image(base)
    if found is None:
        raise ConfigError(
            f"base image {base}: expected one that the container engine has, or name@sha256:..., "
            "as a tag may become another image; pull it first, or name its digest"
        )
    return str(found["Id"])


def base_name(recipe: Recipe) -> str:
    """The image that the Dockerfile begins with; without a tag where a digest says it all."""
    name = recipe.base
    if name is None:
        found = _BASE.search((image_sources() / DOCKERFILE).read_text())
        assert found is not None
        name = found[1]
    repository, at, digest = name.partition("@")
    return f"{_TAG.sub('', repository)}{at}{digest}" if at else name


def build_arguments(recipe: Recipe) -> dict[str, str]:
    """Arguments of the Dockerfile: its base, and the proxies of the caller."""
    base = {} if recipe.base is None else {"BASE": recipe.base}
    return {**base, **recipe.index.proxies}


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
        for name in _FOLDERS:
            folder = tarfile.TarInfo(f"wheelhouse/{name}")
            folder.type = tarfile.DIRTYPE
            archive.addfile(_settled(folder))
        for name, content in _index_files(recipe.index):
            member = tarfile.TarInfo(f"wheelhouse/index/{name}")
            member.size = len(content)
            archive.addfile(_settled(member), io.BytesIO(content))


def _index_files(index: PackageIndex) -> Iterator[tuple[str, bytes]]:
    if text := index.pip_conf(str(_INDEX / _AUTHORITIES)):
        yield "pip.conf", text.encode()
    if index.certificates is not None:
        yield _AUTHORITIES, index.certificates.read_bytes()


def _files() -> dict[str, Path]:
    """What the Dockerfile is and copies, by its names, but for the wheels."""
    sources = image_sources()
    named = {name: sources / name for name in (DOCKERFILE, *_LOCKS)}
    programs = {f"ptefoundry/container/{name}": name for name in _PROGRAMS}
    return named | {place: Path(__file__).with_name(name) for place, name in programs.items()}


def _settled(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() else 0o644
    member.mtime = _TIME_S
    return member
