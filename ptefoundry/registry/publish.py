"""Publishing a bundle: its content, its signatures, its name, what was measured."""

from collections.abc import Sequence
from pathlib import Path

from ptefoundry.bundle.manifest import MEASURED_FILE
from ptefoundry.registry.documents import Clock
from ptefoundry.registry.modelpack import files_of
from ptefoundry.registry.pack import PackedVersion
from ptefoundry.registry.push import NewVersion, Pushed, push_version
from ptefoundry.registry.referrers import Attachment, attach
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.trust.keys import Signer
from ptefoundry.registry.trust.version_signatures import VersionFiles, sign_version

SIGNATURES_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MEASURED_TYPE = "application/vnd.ptefoundry.measured.v1+json"


def publish(
    store: Store,
    packed: PackedVersion,
    folder: Path,
    *,
    signers: Sequence[Signer],
    by: str,
    clock: Clock,
) -> Pushed:
    """Push a packed bundle, signed before its name is there.

    Args:
        store: the registry's.
        packed: the bundle's content.
        folder: the bundle's, for what was measured.
        signers: keys to sign with; none: it is not signed.
        by: who publishes it.
        clock: seconds since 1970.

    Raises:
        ConflictError: the version is there with other content.
        StoreError: the store failed; running it again goes on.
    """
    new = NewVersion(
        name=packed.name, version=packed.version, index=packed.index, blobs=packed.blobs
    )
    pushed = push_version(
        store, new, by=by, clock=clock, attach=lambda: _attach_signatures(store, packed, signers)
    )
    measured = folder / MEASURED_FILE
    if pushed.is_new and measured.is_file():
        files = {MEASURED_FILE: measured.read_bytes()}
        attach(
            store,
            packed.index,
            Attachment(artifact_type=MEASURED_TYPE, media_type="application/json", files=files),
        )
    return pushed


def signed_files(packed: PackedVersion) -> VersionFiles:
    """What of a packed bundle is signed: every file but the manifest, which a pull makes."""
    return VersionFiles(
        name=packed.name,
        version=packed.version,
        index=packed.index.digest,
        variants={
            f"{variant.backend}/{variant.adapter}": {
                entry.path: entry.sha256 for entry in files_of(packed.bundle, variant)
            }
            for variant in packed.bundle.variants
        },
    )


def _attach_signatures(store: Store, packed: PackedVersion, signers: Sequence[Signer]) -> None:
    if signers:
        attachment = Attachment(
            artifact_type=SIGNATURES_TYPE,
            media_type=SIGNATURES_TYPE,
            files=sign_version(signed_files(packed), signers),
        )
        attach(store, packed.index, attachment)
