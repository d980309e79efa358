"""Registries whose digests all fit and whose content a stranger chose: pulling refuses them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.digest import canonical_json, hash_bytes
from ptefoundry.errors import DigestMismatchError, RegistryError
from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.content import blob_of
from ptefoundry.registry.names import blob_key
from ptefoundry.registry.oci import INDEX_TYPE, describe_bytes
from ptefoundry.registry.pull import Puller
from ptefoundry.registry.push import NewVersion, push_version
from ptefoundry.registry.resolve import Resolved
from ptefoundry.registry.store.memory import MemoryStore
from support.layouts import NOW, empty_registry, push
from support.packed import NAME, VERSION, Documents, pack

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def documents() -> Documents:
    return pack()


def _nothing(_document: dict[str, Any]) -> None:
    pass


def _publish(
    store: MemoryStore, documents: Documents, *, listing: Edit = _nothing, manifest: Edit = _nothing
) -> Resolved:
    """Publish the variant `blue` alone, altered, with digests and sizes that fit."""
    listed = _altered(documents.listing, listing)
    fields = json.loads(documents.manifest)
    layer = fields["layers"][-1]
    grown = len(listed) - layer["size"]
    layer |= {"digest": f"sha256:{hash_bytes(listed)}", "size": len(listed)}
    size = int(fields["annotations"]["org.ptefoundry.size"]) + grown
    fields["annotations"]["org.ptefoundry.size"] = str(size)
    manifest(fields)
    variant = canonical_json(fields)
    index = json.loads(documents.index)
    entry = index["manifests"][1]
    entry |= {"digest": f"sha256:{hash_bytes(variant)}", "size": len(variant)}
    entry["annotations"] = fields["annotations"]
    index["manifests"] = [entry]
    data = canonical_json(index)
    new = NewVersion(
        name=NAME,
        version=VERSION,
        index=describe_bytes(data, INDEX_TYPE),
        blobs=(
            *documents.packed.variants[1].blobs,
            *(blob_of(item) for item in (listed, variant, data)),
        ),
    )
    push_version(store, new, by="stranger", clock=lambda: NOW)
    return Resolved(name=NAME, version=VERSION, index=new.index, record=None, yanked=None)


def _altered(data: bytes, edit: Edit) -> bytes:
    document = json.loads(data)
    edit(document)
    return canonical_json(document)


def _pull(store: MemoryStore, resolved: Resolved, folder: Path) -> Path:
    cache = BlobCache(folder / "cache")
    puller = Puller(store=store, cache=cache, policy=None, clock=lambda: NOW)
    entries = puller.read_version(resolved).variants
    return puller.pull(resolved, entries, folder / "into").into


def test_the_stranger_can_publish_what_is_honest(documents: Documents, tmp_path: Path) -> None:
    store = empty_registry()
    into = _pull(store, _publish(store, documents), tmp_path)
    assert (into / "manifest.json").read_bytes() == documents.listing


@pytest.mark.parametrize(
    "edit",
    [
        lambda listing: listing["files"].append(
            {"path": "../../.profile", "size": 1, "sha256": "0" * 64}
        ),
        lambda listing: listing["files"].append({"path": "x", "size": 1, "sha256": "0" * 64}),
        lambda listing: listing["variants"][0].update(program="model.json"),
        lambda listing: listing["variants"][0].update(data=["model.json"]),
        lambda listing: listing.update(name="other"),
        lambda listing: listing["base"].update(name="other/model"),
    ],
)
def test_a_manifest_that_says_other_than_the_layers(
    documents: Documents, edit: Edit, tmp_path: Path
) -> None:
    store = empty_registry()
    resolved = _publish(store, documents, listing=edit)
    with pytest.raises(RegistryError):
        _pull(store, resolved, tmp_path)
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize(
    "path", ["../../escaped", "/tmp/escaped", "a/../../escaped", "signatures/version.sig"]
)
def test_a_layer_that_leaves_the_folder(documents: Documents, path: str, tmp_path: Path) -> None:
    def move(manifest: dict[str, Any]) -> None:
        manifest["layers"][2]["annotations"] = {
            "org.cncf.model.filepath": path,
            "org.opencontainers.image.title": path,
        }

    store = empty_registry()
    resolved = _publish(store, documents, manifest=move)
    with pytest.raises(RegistryError, match="layers"):
        _pull(store, resolved, tmp_path)
    assert not (tmp_path / "into").exists()
    assert not list(tmp_path.rglob("escaped"))


def test_another_foundation_under_the_facts_of_the_right_one(
    documents: Documents, tmp_path: Path
) -> None:
    def swap(manifest: dict[str, Any]) -> None:
        manifest["layers"][0] |= {"digest": f"sha256:{hash_bytes(b'evil')}", "size": 402944}

    store = empty_registry()
    resolved = _publish(store, documents, manifest=swap)
    with pytest.raises(RegistryError, match="expected the foundation"):
        _pull(store, resolved, tmp_path)


def test_a_blob_that_grew_beyond_its_size_is_not_read(documents: Documents, tmp_path: Path) -> None:
    """Endless data: no more is taken than the index promised."""
    store = empty_registry()
    push(store, documents.packed)
    key = blob_key(documents.entry.descriptor.digest)
    _, token = store.read(key, limit=1 << 20)
    store.replace(key, b"x" * (1 << 20), token)
    resolved = Resolved(
        name=NAME, version=VERSION, index=documents.packed.index, record=None, yanked=None
    )
    with pytest.raises(DigestMismatchError, match="bytes 0 to 2470"):
        _pull(store, resolved, tmp_path)
