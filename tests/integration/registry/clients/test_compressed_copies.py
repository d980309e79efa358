"""Reference clients and a version of two hundred adapters, whose index has a compressed copy."""

import gzip
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptefoundry.digest import hash_file
from ptefoundry.registry.names import COMPRESSED
from support.layouts import empty_registry, push, write_folder
from support.packed import NAME, add_adapters, copy_bundle, pack, replace_file
from support.reference_clients import ReferenceClient
from support.static_server import StaticServer, serve_folder

COUNT, CHANGED = 200, "adapter_007"
PROGRAM = f"xnnpack/{CHANGED}.pte"
ALLOWED = 64 << 10
"""Bytes besides the adapter's own."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.0.0, and 1.1.0 with one other adapter."""
    folder, store = tmp_path_factory.mktemp("many"), empty_registry()
    bundle = copy_bundle(folder / "bundle")
    add_adapters(bundle, COUNT)
    push(store, pack(bundle, version="1.0.0").packed)
    replace_file(bundle, PROGRAM, (bundle / PROGRAM).read_bytes() + b"trained again")
    push(store, pack(bundle, version="1.1.0").packed)
    return write_folder(store, folder / "registry")


@pytest.fixture
def server(made: Path, tmp_path: Path) -> Iterator[StaticServer]:
    with serve_folder(Path(shutil.copytree(made, tmp_path / "registry"))) as server:
        yield server


@pytest.fixture
def client(command: ReferenceClient, server: StaticServer, tmp_path: Path) -> ReferenceClient:
    return command.on(server.url, tmp_path / "device")


def index_of(server: StaticServer) -> Path:
    """The largest document, of which there is a copy."""
    copies = (server.folder / COMPRESSED).iterdir()
    blobs = [server.folder / "blobs" / "sha256" / path.name[:64] for path in copies]
    return max(blobs, key=lambda path: path.stat().st_size)


def pull(client: ReferenceClient, version: str) -> str:
    """Digest of the adapter's program on the device."""
    pulled = client.pull(f"{NAME}@{version}", adapter=CHANGED, runtime="any")
    return hash_file(Path(pulled["files"][PROGRAM]))


def test_an_update_costs_its_adapter_and_64_kib(
    client: ReferenceClient, server: StaticServer
) -> None:
    assert index_of(server).stat().st_size > 2 * ALLOWED
    old = pull(client, "1.0.0")
    before = server.sent
    program = server.folder / "blobs" / "sha256" / pull(client, "1.1.0")
    size, update = program.stat().st_size, server.sent - before
    assert program.name != old
    assert size < update < size + ALLOWED


def test_what_is_known_is_not_asked_for_again(
    client: ReferenceClient, server: StaticServer
) -> None:
    pull(client, "1.0.0")
    before = len(server.requests)
    pull(client, "1.0.0")
    paths = [path for _, path, _ in server.requests[before:]]
    assert paths == [f"/refs/{NAME}/1.0.0.json", f"/yanks/{NAME}/1.0.0.json"]


def _lose(_copy: Path, _document: bytes) -> None:
    """The copy is missing."""


def _cut(copy: Path, document: bytes) -> None:
    copy.write_bytes(gzip.compress(document)[:-500])


def _break(copy: Path, document: bytes) -> None:
    copy.write_bytes(bytes(len(document) // 10))


def _bomb(copy: Path, document: bytes) -> None:
    copy.write_bytes(gzip.compress(bytes(len(document) + (8 << 20))))


def _swap(copy: Path, document: bytes) -> None:
    """Of another document with the same size."""
    copy.write_bytes(gzip.compress(document[:-1] + b" "))


def _swell(copy: Path, document: bytes) -> None:
    """Larger than the document itself."""
    copy.write_bytes(document + document)


@pytest.mark.parametrize("alter", [_lose, _cut, _break, _bomb, _swap, _swell])
def test_a_copy_that_is_wrong_is_done_without(
    client: ReferenceClient, server: StaticServer, alter: Callable[[Path, bytes], object]
) -> None:
    for copy in (server.folder / COMPRESSED).iterdir():
        document = server.folder / "blobs" / "sha256" / copy.name[:64]
        copy.unlink()
        alter(copy, document.read_bytes())
    pull(client, "1.0.0")
    paths = [path for _, path, _ in server.requests]
    (copied,) = (path for path in paths if path.startswith("/compressed/"))
    name = copied.removeprefix("/compressed/sha256/").removesuffix(".gz")
    assert f"/blobs/sha256/{name}" in paths
