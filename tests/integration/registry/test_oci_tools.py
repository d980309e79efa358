"""Tools that know OCI and nothing of ptefoundry read its registries.

skopeo and docker-registry are Debian's, oras is the Python package.
"""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from oras.client import OrasClient

from ptefoundry.bundle.check import check_files
from ptefoundry.digest import hash_bytes, hash_file
from ptefoundry.registry.oci import INDEX_TYPE, MANIFEST_TYPE
from support.layouts import empty_registry, push, write_folder
from support.packed import Documents, pack
from support.skips import lacking

REFERENCE = "tiny@1.4.0"
_START_S = 30.0


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        lacking(f"{name} is not installed: `make test-packages` installs it")
    return found


@pytest.fixture(scope="module")
def documents() -> Documents:
    return pack()


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory, documents: Documents) -> Path:
    """A registry with two versions, as a folder."""
    store = empty_registry()
    push(store, documents.packed)
    push(store, pack(version="2.0.0-rc.1").packed)
    return write_folder(store, tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an empty docker-registry on loopback."""
    program, folder = _tool("docker-registry"), tmp_path_factory.mktemp("docker-registry")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = folder / "config.yml"
    storage = {"filesystem": {"rootdirectory": str(folder / "data")}}
    config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": address}}))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        _wait_for(f"http://{address}/v2/", process, folder / "log")
        yield address
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < end:
        try:
            _get(url)
        except URLError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"docker-registry did not start: {log.read_text()}")


def _get(url: str, accept: str = "*/*") -> bytes:
    opener = build_opener(ProxyHandler({}))
    with opener.open(Request(url, headers={"Accept": accept})) as answer:
        data: bytes = answer.read()
    return data


def _skopeo(*arguments: str) -> bytes:
    command = [_tool("skopeo"), "--insecure-policy", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def copied(layout: Path, server: str) -> str:
    """A version, copied by skopeo into docker-registry under its number."""
    target = f"docker://{server}/tiny:1.4.0"
    _skopeo("copy", "--all", "--dest-tls-verify=false", f"oci:{layout}:{REFERENCE}", target)
    return server


def test_skopeo_finds_versions_by_name(layout: Path, documents: Documents) -> None:
    found = _skopeo("inspect", "--raw", f"oci:{layout}:{REFERENCE}")
    assert found == documents.index
    other = json.loads(_skopeo("inspect", "--raw", f"oci:{layout}:tiny@2.0.0-rc.1"))
    assert other["annotations"]["org.opencontainers.image.version"] == "2.0.0-rc.1"


def test_variants_and_files_keep_their_digests_in_docker_registry(
    copied: str, documents: Documents
) -> None:
    """skopeo 1.9 writes the index anew, without the fields that it does not know."""
    index = json.loads(_get(f"http://{copied}/v2/tiny/manifests/1.4.0", INDEX_TYPE))
    listed = [item["digest"] for item in index["manifests"]]
    assert listed == [variant.manifest.digest for variant in documents.packed.variants]
    for digest in listed:
        manifest = _get(f"http://{copied}/v2/tiny/manifests/{digest}", MANIFEST_TYPE)
        assert f"sha256:{hash_bytes(manifest)}" == digest
        for layer in json.loads(manifest)["layers"]:
            blob = _get(f"http://{copied}/v2/tiny/blobs/{layer['digest']}")
            assert f"sha256:{hash_bytes(blob)}" == layer["digest"]


def test_skopeo_inspects_a_variant_by_its_digest(copied: str, documents: Documents) -> None:
    """The very bytes of its manifest and configuration."""
    variant = f"docker://{copied}/tiny@{documents.entry.descriptor.digest}"
    inspect = ("inspect", "--tls-verify=false", "--raw", variant)
    assert _skopeo(*inspect) == documents.manifest
    config = documents.blob(documents.content.config.digest)
    assert _skopeo(*inspect, "--config") == config


def test_skopeo_has_no_summary_of_what_is_no_container_image(
    copied: str, documents: Documents
) -> None:
    """Without --raw it wants an image's configuration: it says so and tells nothing wrong."""
    variant = f"docker://{copied}/tiny@{documents.entry.descriptor.digest}"
    command = [_tool("skopeo"), "--insecure-policy", "inspect", "--tls-verify=false", variant]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "unsupported image-specific operation on artifact" in done.stderr


def test_oras_pulls_a_variant_by_digest(
    copied: str, documents: Documents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # no logins of the user
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    client = OrasClient(insecure=True, tls_verify=False)
    digest = documents.entry.descriptor.digest
    client.pull(
        f"{copied}/tiny@{digest}",
        outdir=str(tmp_path / "out"),
        allowed_media_type=[MANIFEST_TYPE],
    )
    found = {
        path.relative_to(tmp_path / "out").as_posix(): f"sha256:{hash_file(path)}"
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    layers = documents.content.layers
    assert found == {layer.path: layer.descriptor.digest for layer in layers}
    check_files(tmp_path / "out")  # it is a bundle as it is
