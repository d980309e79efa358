"""Measures the image of builds, and a build in it against one outside; prints Markdown tables.

    make container-packages
    python tests/benchmarks/container.py [--workspace DIR]

Needs root: an engine of its own is started if none runs. The image is built twice without any
layer of an earlier build, of what the target above has gathered. Without a workspace the builds
are of a tiny one with two adapters. Both are clean clones, without caches.
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from clean_clone import CleanClone, clone, origin_in
from measure import MIB, begin, show, table

from ptefoundry.container.engine import Engine, connect
from ptefoundry.container.image import Image, build_image
from ptefoundry.container.recipe import BASE_VARIABLE, WHEELHOUSE_VARIABLE, Recipe
from support.container_engine import engine_answers, own_engine

ROOT = Path(__file__).parents[2]
BASE_NAME = "ptefoundry-benchmark-base"


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, help="a git repository with a params.yaml")
    arguments = parser.parse_args()
    begin()
    with (
        tempfile.TemporaryDirectory() as name,
        nullcontext() if engine_answers() else own_engine() as own,
    ):
        if own is not None:
            os.environ["DOCKER_HOST"] = own.address
        folder = Path(name)
        with connect() as engine:
            show(_image(engine, folder / "cache"))
        origin = origin_in(folder, arguments.workspace)
        show(_builds(clone(origin, folder / "outside"), clone(origin, folder / "inside")))


def _image(engine: Engine, cache: Path) -> str:
    with (ROOT / "base-image.tar").open("rb") as file:
        engine.api.import_image_from_data(file, repository=BASE_NAME)
    recipe = Recipe(base=BASE_NAME, wheelhouse=ROOT / "wheelhouse")
    os.environ |= {BASE_VARIABLE: BASE_NAME, WHEELHOUSE_VARIABLE: str(recipe.wheelhouse)}
    (seconds, image), (again, other) = (_build(engine, recipe, cache) for _ in range(2))
    base = engine.inspect_image(BASE_NAME)
    built = engine.inspect_image(image.id)
    assert base is not None
    assert built is not None
    rows = [
        ["base, MiB", f"{base['Size'] / MIB:.0f}"],
        ["image, MiB", f"{built['Size'] / MIB:.0f}"],
        ["building it, s", f"{seconds:.0f}"],
        ["building it again without its layers, s", f"{again:.0f}"],
        ["digest of its content", image.digest],
        ["the same again", "yes" if image.digest == other.digest else "**no**"],
    ]
    return table("The image of builds", ["", ""], rows)


def _build(engine: Engine, recipe: Recipe, cache: Path) -> tuple[float, Image]:
    started = time.perf_counter()
    image = build_image(engine, recipe, cache, lambda _line: None, afresh=True)
    return time.perf_counter() - started, image


def _builds(outside: CleanClone, inside: CleanClone) -> str:
    times = outside.seconds("build"), inside.seconds("build", "--container")
    again = inside.seconds("build", "--container")
    same = _files(outside) == _files(inside)
    rows = [
        ["`build`", f"{times[0]:.0f}", "1"],
        ["`build --container`", f"{times[1]:.0f}", f"{times[1] / times[0]:.2f}"],
        ["`build --container`, nothing to do", f"{again:.1f}", f"{again / times[0]:.3f}"],
    ]
    text = table("A build from nothing, in a container", ["", "seconds", "ratio"], rows)
    return f"{text}\nThe bundles' files are {'the same' if same else '**not** the same'}.\n"


def _files(clone: CleanClone) -> dict[str, bytes]:
    bundle = clone.root / "artifacts" / "bundle"
    return {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in bundle.rglob("*")
        if path.is_file() and path.name != "measured.json"
    }


if __name__ == "__main__":
    main()
