"""Publishing a bundle: its content, its signatures, its name, what was measured."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ptefoundry.bundle.manifest import MEASURED_FILE
from ptefoundry.registry.documents import Clock
from ptefoundry.registry.oci import Descriptor
from ptefoundry.registry.pack import PackedVersion
from ptefoundry.registry.push import NewVersion, Pushed, push_version
from ptefoundry.registry.referrers import Attachment, attach, list_referrers
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.trust.build_record import BuildRecord
from ptefoundry.registry.trust.kept_record import describe_bundle
from ptefoundry.registry.trust.keys import Signer
from ptefoundry.registry.trust.provenance import sign_provenance
from ptefoundry.registry.trust.sbom import make_sbom
from ptefoundry.registry.trust.signed_content import files_of_packed
from ptefoundry.registry.trust.version_signatures import sign_version

SIGNATURES_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PROVENANCE_TYPE = "application/vnd.ptefoundry.provenance.v1+json"
STATEMENT_TYPE = "application/vnd.in-toto+json"
BILL_TYPE, BILL_FILE = "application/vnd.cyclonedx+json", "bom.cdx.json"
MEASURED_TYPE = "application/vnd.ptefoundry.measured.v1+json"


def publish(
    store: Store,
    packed: PackedVersion,
    folder: Path,
    *,
    signers: Sequence[Signer],
    record: BuildRecord | None,
    by: str,
    clock: Clock,
) -> Pushed:
    """Push a packed bundle, signed before its name is there.

    Args:
        store: the registry's.
        packed: the bundle's content.
        folder: the bundle's, for what was measured.
        signers: keys to sign with; none: it is not signed.
        record: how it was built, for its provenance; None if not known. Its bill of materials
            follows from the bundle's manifest then.
        by: who publishes it.
        clock: seconds since 1970.

    Raises:
        ConflictError: the version is there with other content.
        StoreError: the store failed; running it again goes on.
    """
    new = NewVersion(
        name=packed.name, version=packed.version, index=packed.index, blobs=packed.blobs
    )
    attachments = [*_signatures(packed, signers), *_documents(packed, record, signers)]

    def attach_all() -> None:
        attach(store, packed.index, attachments, clock=clock)

    pushed = push_version(store, new, by=by, clock=clock, attach=attach_all)
    _attach_measured(store, packed.index, folder / MEASURED_FILE, clock)
    return pushed


def _attach_measured(store: Store, index: Descriptor, measured: Path, clock: Clock) -> None:
    """Attach what was measured, unless the version has measurements already."""
    if not measured.is_file():
        return
    # Not asked of the push: one that was killed before this left a version without.
    attached = list_referrers(store, index.digest)
    if all(one.artifact_type != MEASURED_TYPE for one in attached):
        files = {MEASURED_FILE: measured.read_bytes()}
        attachment = Attachment(
            artifact_type=MEASURED_TYPE, media_type="application/json", files=files
        )
        attach(store, index, [attachment], clock=clock)


def _signatures(packed: PackedVersion, signers: Sequence[Signer]) -> Iterator[Attachment]:
    if signers:
        yield Attachment(
            artifact_type=SIGNATURES_TYPE,
            media_type=SIGNATURES_TYPE,
            files=sign_version(files_of_packed(packed), signers),
        )


def _documents(
    packed: PackedVersion, record: BuildRecord | None, signers: Sequence[Signer]
) -> Iterator[Attachment]:
    if record is not None:
        yield Attachment(
            artifact_type=PROVENANCE_TYPE,
            media_type=SIGNATURES_TYPE if signers else STATEMENT_TYPE,
            files=sign_provenance(record, signers),
            older="replaced",
        )
    bill = record or describe_bundle(packed.bundle, files_of_packed(packed))
    yield Attachment(
        artifact_type=BILL_TYPE,
        media_type=BILL_TYPE,
        files={BILL_FILE: make_sbom(bill)},
        older="replaced" if record is not None else "enough",
    )
