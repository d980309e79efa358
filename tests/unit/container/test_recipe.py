import io
import tarfile
from pathlib import Path
from typing import Any, cast

import pytest

from ptefoundry.container.engine import Engine
from ptefoundry.container.index import PackageIndex
from ptefoundry.container.recipe import (
    Recipe,
    build_arguments,
    pack_context,
    recipe_digest,
    usual_recipe,
)
from ptefoundry.errors import ConfigError


class _Engine:
    """Has one image."""

    def inspect_image(self, name: str) -> dict[str, Any] | None:
        return {"Id": "sha256:1"} if name == "base" else None


ENGINE = cast("Engine", _Engine())
CPU = PackageIndex(settings={"PIP_EXTRA_INDEX_URL": "https://cpu.example"})


def _wheelhouse(folder: Path, torch: str = "torch") -> Path:
    (folder / "torch").mkdir(parents=True)
    (folder / "torch" / "torch-2.0-py3-none-any.whl").write_text(torch)
    (folder / "torch" / "pip-1.0-py3-none-any.whl").write_text("pip")
    return folder


def _packed(recipe: Recipe) -> dict[str, bytes | None]:
    file = io.BytesIO()
    pack_context(recipe, file)
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        members = {one.name: archive.extractfile(one) for one in archive}
        return {name: None if one is None else one.read() for name, one in members.items()}


def test_torch_counts_by_its_wheel_else_by_the_indexes(tmp_path: Path) -> None:
    one = Recipe(wheelhouse=_wheelhouse(tmp_path / "one"))
    same = Recipe(wheelhouse=_wheelhouse(tmp_path / "same"), index=CPU)
    other = Recipe(wheelhouse=_wheelhouse(tmp_path / "other", "torch for CUDA"))
    recipes = (one, same, other, Recipe(), Recipe(index=CPU))
    digests = [recipe_digest(ENGINE, recipe) for recipe in recipes]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


def test_base_counts_by_what_the_engine_has() -> None:
    fixed = "sha256:" + "0" * 64
    recipes = (Recipe(), Recipe(base="base"), Recipe(base=f"debian@{fixed}"))
    assert len({recipe_digest(ENGINE, recipe) for recipe in recipes}) == 3
    with pytest.raises(ConfigError, match="as a tag may become another image"):
        recipe_digest(ENGINE, Recipe(base="debian:stable"))


def test_context_has_what_the_dockerfile_names(tmp_path: Path) -> None:
    authorities = tmp_path / "authorities"
    authorities.write_text("certificates")
    index = PackageIndex(settings=CPU.settings, certificates=authorities)
    packed = _packed(Recipe(wheelhouse=_wheelhouse(tmp_path / "wheels"), index=index))
    assert packed["wheelhouse/torch/torch-2.0-py3-none-any.whl"] == b"torch"
    assert packed["wheelhouse/index/ca.pem"] == b"certificates"
    assert packed["wheelhouse/index/pip.conf"] == (
        b"[global]\nextra-index-url = https://cpu.example\ncert = /media/ca.pem\n"
    )
    dockerfile = packed["Dockerfile"]
    assert dockerfile is not None
    copied = [line for line in dockerfile.decode().splitlines() if line.startswith("COPY")]
    assert {name for line in copied for name in line.split()[1:-1]} <= packed.keys()
    mounted = {"wheelhouse/torch", "wheelhouse/locked", "wheelhouse/index"}
    assert all(f"source={name},target=" in dockerfile.decode() for name in mounted)
    assert mounted <= packed.keys()
    assert not any(name.startswith("wheelhouse/index/") for name in _packed(Recipe()))


def test_proxies_are_arguments_and_indexes_are_not(tmp_path: Path) -> None:
    """Of an argument the image's history has the value."""
    recipe = usual_recipe(
        {
            "PTEFOUNDRY_BASE_IMAGE": "base",
            "PTEFOUNDRY_WHEELHOUSE": str(tmp_path),
            "PIP_INDEX_URL": "https://user:secret@packages.example",
            "HTTPS_PROXY": "http://proxy.example",
        }
    )
    assert build_arguments(recipe) == {"BASE": "base", "HTTPS_PROXY": "http://proxy.example"}
    assert recipe.index.settings == {"PIP_INDEX_URL": "https://user:secret@packages.example"}
