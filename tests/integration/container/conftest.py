"""An engine and the image of builds, once for all tests of this folder.

The image is built of a base and wheels that `make container-packages` has gathered; an
engine that ran before keeps it for the next time. Where no base can be made, which takes a
Debian, it is the Dockerfile's own with the packages that this adds.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ptefoundry.container.engine import Engine, connect
from ptefoundry.container.image import Image, ensure_image
from ptefoundry.container.recipe import Recipe
from ptefoundry.errors import ContainerError
from support.container_engine import (
    NoEngineError,
    OwnEngine,
    engine_answers,
    own_engine,
    why_no_engine,
)
from support.podman import own_podman
from support.small_image import write_sources

ROOT = Path(__file__).parents[3]
BASE = ROOT / "base-image.tar"
WHEELHOUSE = ROOT / "wheelhouse"
BASE_NAME = "ptefoundry-test-base"


@pytest.fixture(scope="session")
def own() -> Iterator[OwnEngine | None]:
    """An engine that was started for these tests; None where one runs already."""
    if reason := why_no_engine():
        pytest.skip(reason)
    if engine_answers():
        yield None
        return
    with ExitStack() as stack:
        try:
            started = stack.enter_context(own_engine())
        except NoEngineError as error:
            pytest.skip(str(error))
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("DOCKER_HOST", started.address)
        yield started


@pytest.fixture(scope="session")
def engine(own: OwnEngine | None) -> Iterator[Engine]:
    """The engine that commands find too."""
    with connect() as running:
        yield running


@pytest.fixture(scope="session")
def base(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """ID of an image with Debian's packages."""
    if BASE.is_file():
        return _import_base(engine)
    return _build_base(engine, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def podman() -> Iterator[Engine]:
    """Podman's service, which commands do not find."""
    with ExitStack() as stack:
        try:
            address = stack.enter_context(own_podman())
        except NoEngineError as error:
            pytest.skip(str(error))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", address)
            running = stack.enter_context(connect())
        yield running


@pytest.fixture(scope="session")
def podman_base(podman: Engine, request: pytest.FixtureRequest) -> str:
    """ID of the same image there."""
    if not BASE.is_file():
        engine: Engine = request.getfixturevalue("engine")
        podman.api.load_image(engine.api.get_image(request.getfixturevalue("base")))
        return str(request.getfixturevalue("base"))
    return _import_base(podman)


def _import_base(engine: Engine) -> str:
    with BASE.open("rb") as file:
        engine.api.import_image_from_data(file, repository=BASE_NAME)
    found = engine.inspect_image(BASE_NAME)
    assert found is not None
    return str(found["Id"])


def _build_base(engine: Engine, folder: Path) -> str:
    """The Dockerfile's first step, with the packages, of the base that it names."""
    first, _, _ = (ROOT / "Dockerfile").read_text().partition("\nENV ")
    with pytest.MonkeyPatch.context() as patch:
        sources = write_sources(folder / "base", f"{first}\n")
        patch.setattr("ptefoundry.container.recipe.image_sources", lambda: sources)
        try:
            image = ensure_image(engine, Recipe(), folder, lambda _line: None)
        except ContainerError as error:
            pytest.skip(f"{BASE.name} is missing (`make container-packages`), and {error}")
    engine.api.tag(image.id, BASE_NAME)
    return image.id


@pytest.fixture(scope="session")
def recipe(base: str) -> Iterator[Recipe]:
    """What the image is built of, which commands use too."""
    if not any(WHEELHOUSE.rglob("*.whl")):
        pytest.skip(f"{WHEELHOUSE.name} is empty: `make container-packages` fills it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTEFOUNDRY_BASE_IMAGE", BASE_NAME)
        patch.setenv("PTEFOUNDRY_WHEELHOUSE", str(WHEELHOUSE))
        yield Recipe(base=BASE_NAME, wheelhouse=WHEELHOUSE)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of all commands, so that a content digest is computed once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTEFOUNDRY_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def image(engine: Engine, recipe: Recipe, cache: Path) -> Image:
    """The image of builds."""
    return ensure_image(engine, recipe, cache, lambda _line: None)
