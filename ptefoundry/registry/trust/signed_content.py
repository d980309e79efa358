"""What is signed of a version: the files of its variants, without the merged manifest.

Its `manifest.json` is a layer of each variant like the others, so the index's digest,
which every signature names, covers it.
"""

from collections.abc import Iterable

from ptefoundry.registry.modelpack import files_of
from ptefoundry.registry.names import hex_of
from ptefoundry.registry.pack import PackedVersion
from ptefoundry.registry.trust.version_signatures import VersionFiles
from ptefoundry.registry.version import VariantContent


def files_of_packed(packed: PackedVersion) -> VersionFiles:
    """A version that is about to be pushed, for `sign_version`."""
    bundle = packed.bundle
    return VersionFiles(
        name=packed.name,
        version=packed.version,
        index=packed.index.digest,
        variants={
            f"{variant.backend}/{variant.adapter}": {
                entry.path: entry.sha256 for entry in files_of(bundle, variant)
            }
            for variant in bundle.variants
        },
    )


def files_of_contents(
    name: str, version: str, index: str, contents: Iterable[VariantContent]
) -> VersionFiles:
    """Variants whose manifests have been read, for `verify_version`.

    Args:
        name: of the bundle.
        version: that was asked for.
        index: digest of the version's index.
        contents: of all variants or of some.
    """
    return VersionFiles(
        name=name,
        version=version,
        index=index,
        variants={
            f"{content.facts.backend}/{content.facts.adapter}": {
                layer.path: hex_of(layer.descriptor.digest)
                for layer in content.layers
                if layer is not content.listing
            }
            for content in contents
        },
    )
