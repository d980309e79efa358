"""Versions of a few tiny blobs, for tests that need many of them."""

from ptefoundry.registry.content import blob_of
from ptefoundry.registry.oci import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    ImageIndex,
    ImageManifest,
    describe_bytes,
)
from ptefoundry.registry.push import NewVersion

NAME = "a"


def make_version(version: str, contents: tuple[bytes, ...]) -> NewVersion:
    """An index with one manifest, of few blobs that versions share."""
    layers = [blob_of(content) for content in contents]
    config = blob_of(b"{}")
    manifest = ImageManifest(
        artifact_type="x/y",
        config=Descriptor(media_type="x/y", digest=config.digest, size=config.size),
        layers=tuple(
            Descriptor(media_type="x/y", digest=blob.digest, size=blob.size) for blob in layers
        ),
    ).to_bytes()
    index = ImageIndex(
        manifests=(describe_bytes(manifest, MANIFEST_TYPE),), annotations={"version": version}
    ).to_bytes()
    return NewVersion(
        name=NAME,
        version=version,
        index=describe_bytes(index, INDEX_TYPE),
        blobs=(*layers, config, blob_of(manifest), blob_of(index)),
    )


def first_content(new: NewVersion) -> bytes:
    """The first of those that the version was made of."""
    content = new.blobs[0].content
    assert isinstance(content, bytes)
    return content
