"""Whether a trusted key has signed a version that a registry has."""

from ptefoundry.registry.compressed import read_document
from ptefoundry.registry.oci import INDEX_TYPE, Descriptor
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.publish import SIGNATURES_TYPE
from ptefoundry.registry.referrers import read_attachments
from ptefoundry.registry.refs import VersionRef
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.trust.policy import TrustPolicy
from ptefoundry.registry.trust.signed_content import files_of_contents
from ptefoundry.registry.trust.version_signatures import open_version, verify_version
from ptefoundry.registry.version import VariantContent, VariantEntry, read_variant, read_version


def check_version_signed(store: Store, ref: VersionRef, *, policy: TrustPolicy, now: float) -> None:
    """Refuse a version whose index no trusted key has signed; all else follows by digest.

    Args:
        store: the registry's.
        ref: the version.
        policy: whose signature counts.
        now: seconds since 1970.

    Raises:
        TrustError: none has.
        RegistryError: what is attached to the version is malformed or missing.
    """
    open_version(
        _signatures(store, ref),
        name=ref.name,
        version=ref.version,
        index=ref.digest,
        policy=policy,
        now=now,
        where=f"{store.url}: {ref}",
    )


def check_files_signed(store: Store, ref: VersionRef, *, policy: TrustPolicy, now: float) -> None:
    """As `check_version_signed`, and that the signature names the files of the manifests.

    Raises:
        TrustError: no trusted key has signed this version, or a file of it.
        RegistryError: index or manifests are malformed or missing.
    """
    check_version_signed(store, ref, policy=policy, now=now)
    index = Descriptor(media_type=INDEX_TYPE, digest=ref.digest, size=ref.size)
    where = f"{store.url}{ref.digest}"
    version = read_version(
        read_document(store, index), name=ref.name, version=ref.version, where=where
    )

    def read(entry: VariantEntry) -> VariantContent:
        data = read_document(store, entry.descriptor)
        where = f"{store.url}{entry.descriptor.digest}"
        return read_variant(data, expected=entry.facts, where=where)

    contents = list(for_each(read, version.variants))
    verify_version(
        _signatures(store, ref),
        files_of_contents(ref.name, ref.version, ref.digest, contents),
        policy=policy,
        now=now,
        where=f"{store.url}: {ref}",
    )


def _signatures(store: Store, ref: VersionRef) -> dict[str, bytes]:
    """Signatures of the whole version, those that were attached last first."""
    found: dict[str, bytes] = {}
    for files in read_attachments(
        store,
        ref.digest,
        SIGNATURES_TYPE,
        wanted=lambda name: name.startswith("version."),
        read=lambda descriptor: read_document(store, descriptor),
    ):
        found = {**files, **found}
    return found
