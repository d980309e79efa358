"""Where a registry is, and what is in it, for tests that use the command."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ptefoundry.registry.content import read_blob
from ptefoundry.registry.names import blob_key
from ptefoundry.registry.oci import INDEX_TYPE, Descriptor
from ptefoundry.registry.pack import pack_bundle
from ptefoundry.registry.publish import publish
from ptefoundry.registry.refs import list_refs
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.store.open import open_store
from ptefoundry.registry.version import read_variant, read_version
from support.layouts import empty_registry


@dataclass
class Place:
    """A registry, as it is given to the command."""

    url: str
    environment: dict[str, str] = field(default_factory=dict)

    def open(self) -> Store:
        """The store, to look behind the command's back."""
        with environment_of(self.environment):
            return open_store(self.url)

    def init(self) -> "Place":
        """Make an empty registry without finding out what the store can do, which takes long."""
        made, store = empty_registry(), self.open()
        for info in made.list(""):
            store.create(info.key, made.read(info.key, limit=info.size)[0])
        return self

    def publish(self, bundle: Path, version: str) -> str:
        """Push a bundle without the command; returns the version's digest."""
        packed = pack_bundle(bundle, version=version)
        pushed = publish(
            self.open(), packed, bundle, signers=(), record=None, by="tests", clock=time.time
        )
        return pushed.ref.digest


@contextmanager
def environment_of(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables while a block runs, and set them back."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


def check_whole(store: Store) -> dict[str, str]:
    """Read every version to its last byte; returns their digests by name@version."""
    digests, read = {}, set[str]()
    for ref in list_refs(store):
        digests[str(ref)] = ref.digest
        index = Descriptor(media_type=INDEX_TYPE, digest=ref.digest, size=ref.size)
        version = read_version(
            read_blob(store, index), name=ref.name, version=ref.version, where=str(ref)
        )
        for entry in version.variants:
            data = read_blob(store, entry.descriptor)
            content = read_variant(data, expected=entry.facts, where=str(ref))
            for descriptor in (content.config, *(layer.descriptor for layer in content.layers)):
                if descriptor.digest not in read:
                    _read_whole(store, descriptor)
                    read.add(descriptor.digest)
    return digests


def _read_whole(store: Store, descriptor: Descriptor) -> None:
    """Read a blob of any size and compare its digest."""
    hasher, size = hashlib.sha256(), 0
    with store.stream(blob_key(descriptor.digest), 0, descriptor.size) as pieces:
        for piece in pieces:
            hasher.update(piece)
            size += len(piece)
    assert (size, f"sha256:{hasher.hexdigest()}") == (descriptor.size, descriptor.digest)
