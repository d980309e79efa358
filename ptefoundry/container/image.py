"""The image that stages run in: found by what it is made of, else built.

What it is made of is its recipe: Dockerfile, locks, base image, torch. An image of the same recipe
is not built again. What came out is its content digest, which stages depend on.
"""

import json
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from ptefoundry.container.build_output import BuildFailedError
from ptefoundry.container.content import ChunkReader, content_digest
from ptefoundry.container.engine import Engine
from ptefoundry.container.failures import engine_errors
from ptefoundry.container.recipe import (
    Recipe,
    base_name,
    build_arguments,
    pack_context,
    recipe_digest,
)
from ptefoundry.errors import ContainerError
from ptefoundry.files import write_text

RECIPE_LABEL = "org.ptefoundry.recipe"
IMAGE_NAME = "ptefoundry-build"
"""Repository of the tags of images that are built here."""

Say = Callable[[str], None]
"""Is told what a build of an image prints."""

_TAIL_LINES = 20


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image that an engine has."""

    id: str
    """The engine's name of it, `sha256:<64 hex digits>`: another one after each build."""
    digest: str
    """Of its content, 64 hex digits: the same after each build of the same things."""


def find_image(engine: Engine, name: str, cache: Path) -> Image:
    """An image that the engine has.

    Args:
        engine: that is asked.
        name: ID, tag or `name@sha256:...`.
        cache: remembers content digests of images.

    Raises:
        ContainerError: it has no such image.
    """
    found = engine.inspect_image(name)
    if found is None:
        raise ContainerError(
            f"image {name}: expected one that the container engine has, found none; pull it, or "
            "leave the name away to have one built"
        )
    return _described(engine, found, cache)


def find_built_image(engine: Engine, recipe: Recipe, cache: Path) -> Image | None:
    """The newest image that was built of a recipe; None if the engine has none.

    Raises:
        ConfigError: the base is no fixed image.
    """
    label = recipe_digest(engine, recipe)
    with engine_errors("looking for the image"):
        known = engine.api.images(filters={"label": f"{RECIPE_LABEL}={label}"})
    if not known:
        return None
    newest = max(known, key=lambda image: (image["Created"], image["Id"]))
    return find_image(engine, newest["Id"], cache)


def ensure_image(engine: Engine, recipe: Recipe, cache: Path, say: Say) -> Image:
    """The image of a recipe, built if the engine has none.

    Raises:
        ConfigError: the base is no fixed image.
        ContainerError: building failed.
    """
    found = find_built_image(engine, recipe, cache)
    return build_image(engine, recipe, cache, say) if found is None else found


def build_image(
    engine: Engine, recipe: Recipe, cache: Path, say: Say, *, afresh: bool = False
) -> Image:
    """Build the image of a recipe.

    Args:
        engine: that builds.
        recipe: what it is made of.
        cache: remembers content digests of images.
        say: is told what the build prints.
        afresh: use no layer of an earlier build.

    Raises:
        ConfigError: the base is no fixed image.
        ContainerError: building failed.
    """
    label = recipe_digest(engine, recipe)
    tag = f"{IMAGE_NAME}:{label[:12]}"
    _bring_base(engine, base_name(recipe), say)
    with tempfile.TemporaryFile() as context:
        pack_context(recipe, context)
        context.seek(0)
        options = {
            "t": tag,
            "buildargs": json.dumps(build_arguments(recipe)),
            "labels": json.dumps({RECIPE_LABEL: label}),
        }
        lines = engine.build(context, {**options, "nocache": "1"} if afresh else options)
        _follow(lines, say)
    return find_image(engine, tag, cache)


def _bring_base(engine: Engine, name: str, say: Say) -> None:
    """BuildKit signs in to registries by its client's session, of which there is none here.

    It takes a base that is there already.
    """
    if engine.inspect_image(name) is None:
        say(f"Step: pull {name}")
        engine.pull(name)


def _described(engine: Engine, found: dict[str, Any], cache: Path) -> Image:
    """An ID never means another image, so its content digest is computed once."""
    identifier = str(found["Id"])
    remembered = cache / "images" / identifier.removeprefix("sha256:")
    if remembered.is_file():
        return Image(id=identifier, digest=remembered.read_text().strip())
    digest = _export_digest(engine, identifier, found["Config"].get("Env") or ())
    write_text(remembered, f"{digest}\n")
    return Image(id=identifier, digest=digest)


def _export_digest(engine: Engine, identifier: str, environment: Any) -> str:
    with engine_errors("reading the image"):
        container = engine.api.create_container(identifier, ["true"])["Id"]
        try:
            pieces = engine.api.export(container, chunk_size=1 << 20)
            return content_digest(cast("IO[bytes]", ChunkReader(pieces)), environment)
        finally:
            engine.api.remove_container(container, force=True)


def _follow(lines: Iterator[str], say: Say) -> None:
    last: deque[str] = deque(maxlen=_TAIL_LINES)
    try:
        for line in lines:
            last.append(line)
            say(line)
    except BuildFailedError as error:
        tail = "\n".join(last)
        raise ContainerError(
            f"building the image failed: {error}\nits last lines:\n{tail}"
        ) from error
