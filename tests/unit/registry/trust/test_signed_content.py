from ptefoundry.bundle.manifest import MANIFEST_FILE, FileEntry, Manifest, Variant
from ptefoundry.registry.facts import Facts
from ptefoundry.registry.modelpack import (
    CONFIG_TYPE,
    MODEL_TYPE,
    WEIGHT_CONFIG_TYPE,
    describe_layer,
    files_of,
    layer_type,
)
from ptefoundry.registry.oci import INDEX_TYPE, ImageManifest, describe_bytes
from ptefoundry.registry.pack import PackedVersion
from ptefoundry.registry.trust.keys import generate_signer
from ptefoundry.registry.trust.policy import TrustedKey, TrustPolicy
from ptefoundry.registry.trust.signed_content import files_of_contents, files_of_packed
from ptefoundry.registry.trust.version_signatures import sign_version, verify_version
from ptefoundry.registry.version import VariantContent, read_variant
from support.signed_bundle import PROGRAMS, contents, digests

BUNDLE = Manifest(
    name="assistant",
    base={"name": "org/model"},
    adapters={"nobel": {}},
    backends={"xnnpack": {}},
    files=tuple(
        FileEntry(path=path, size=len(data), sha256=digests(*PROGRAMS)[path])
        for path, data in sorted(contents(*PROGRAMS).items())
    ),
    variants=tuple(
        Variant(
            backend="xnnpack",
            adapter=name,
            program=f"xnnpack/{name}.pte",
            data=("xnnpack/foundation.ptd",),
            method="forward",
        )
        for name in PROGRAMS
    ),
)
INDEX = describe_bytes(b"index", INDEX_TYPE)
PACKED = PackedVersion(
    name="assistant",
    version="1.4.0",
    bundle=BUNDLE,
    index=INDEX,
    index_bytes=b"index",
    variants=(),
)


def _content(variant: Variant) -> VariantContent:
    """A variant's manifest, written and read."""
    files = files_of(BUNDLE, variant)
    layers = [describe_layer(entry, layer_type(BUNDLE, entry.path), None) for entry in files]
    listing = FileEntry(path=MANIFEST_FILE, size=2, sha256="0" * 64)
    layers.append(describe_layer(listing, WEIGHT_CONFIG_TYPE, None))
    facts = Facts(
        backend=variant.backend,
        adapter=variant.adapter,
        method=variant.method,
        program=variant.program,
        size=sum(layer.size for layer in layers),
        memory=1,
        base="org/model",
    )
    manifest = ImageManifest(
        artifact_type=MODEL_TYPE,
        config=describe_bytes(b"{}", CONFIG_TYPE),
        layers=tuple(layers),
        annotations=facts.to_annotations(),
    )
    return read_variant(manifest.to_bytes(), expected=facts, where="here")


def test_packed_and_read_versions_are_signed_alike() -> None:
    read = files_of_contents(
        "assistant", "1.4.0", INDEX.digest, [_content(variant) for variant in BUNDLE.variants]
    )
    packed = files_of_packed(PACKED)
    assert packed == read
    assert packed.files == digests(*PROGRAMS)
    assert packed.variants["xnnpack/nobel"] == digests("nobel")


def test_pushed_version_verifies_when_some_variants_are_pulled() -> None:
    signer = generate_signer()
    signatures = sign_version(files_of_packed(PACKED), [signer])
    pulled = files_of_contents("assistant", "1.4.0", INDEX.digest, [_content(BUNDLE.variants[1])])
    policy = TrustPolicy(keys=(TrustedKey(key=signer.public),))
    verify_version(signatures, pulled, policy=policy, now=0.0, where="here")
