"""The golden registry: tests/golden/registry-v1, which must stay readable.

Two versions of the golden bundle, of which the second has another adapter; a channel that
was pushed, promoted and rolled back; one that has expired; a version that was yanked. Signed
by a key that everybody knows.

    python tests/support/golden_registry.py FOLDER     # makes it anew

A test compares what is made with what is stored. Where the two must differ, the format has
changed: keep the old one and store another beside it, unless nobody can have the old one.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

sys.path.insert(0, str(Path(__file__).parents[1]))

from ptefoundry.registry.channels import Channel
from ptefoundry.registry.documents import format_time
from ptefoundry.registry.moves import Move, follow_push, promote, roll_back
from ptefoundry.registry.publish import MEASURED_TYPE, SIGNATURES_TYPE
from ptefoundry.registry.referrers import Attachment, attach
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.trust.keys import Signer, load_signer
from ptefoundry.registry.trust.signed_content import files_of_packed
from ptefoundry.registry.trust.version_signatures import sign_version
from ptefoundry.registry.yanks import Yank, yank
from support.layouts import empty_registry, push, write_folder
from support.packed import NAME, copy_bundle, edit_manifest, pack, replace_file

GOLDEN = Path(__file__).parents[1] / "golden" / "registry-v1"
PUBLIC_KEY = GOLDEN.with_name("registry-v1.pem")
BEGIN = 1_760_000_000.0
DAY, CENTURY = 86400.0, 100 * 365 * 86400.0
REASON = "red answers wrongly"


def golden_signer() -> Signer:
    """The key with the private number 1: nobody may trust it."""
    key = ec.derive_private_key(1, ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return load_signer(pem.decode())


def make_registry() -> MemoryStore:
    """The golden registry."""
    store = empty_registry()
    stable, beta = (
        Channel(store, NAME, name, signers=[golden_signer()]) for name in ("stable", "beta")
    )
    with tempfile.TemporaryDirectory() as folder:
        bundle = copy_bundle(Path(folder) / "bundle")
        edit_manifest(bundle, _state_all_facts)
        _publish(store, bundle, "1.0.0", BEGIN)
        follow_push(store, stable, "1.0.0", _move(0, "first release", CENTURY))
        # Two layers of one version with one digest, which clients have to cope with.
        replace_file(bundle, "xnnpack/red.pte", (bundle / "xnnpack" / "blue.pte").read_bytes())
        _publish(store, bundle, "1.1.0", BEGIN + DAY)
    follow_push(store, beta, "1.1.0", _move(1, "red trained anew", DAY))
    promote(store, stable, "1.1.0", _move(2, "a day of beta", CENTURY))
    time = format_time(BEGIN + 3 * DAY)
    yank(store, Yank(name=NAME, version="1.1.0", reason=REASON, time=time, by="ci"))
    roll_back(store, stable, _move(3, REASON, CENTURY))
    return store


def _publish(store: MemoryStore, bundle: Path, version: str, at: float) -> None:
    packed = pack(bundle, version=version).packed
    signatures = sign_version(files_of_packed(packed), [golden_signer()])
    measured = {"measured.json": (bundle / "measured.json").read_bytes()}
    attachments = (
        Attachment(artifact_type=SIGNATURES_TYPE, media_type=SIGNATURES_TYPE, files=signatures),
        Attachment(artifact_type=MEASURED_TYPE, media_type="application/json", files=measured),
    )

    def attach_all() -> None:
        attach(store, packed.index, attachments, clock=lambda: at)

    push(store, packed, at=at, attach=attach_all)


def _state_all_facts(manifest: dict[str, Any]) -> None:
    """What bundles may leave out."""
    manifest["base"]["digest"] = "sha256:" + "ba5e" * 16
    manifest["adapters"]["blue"]["digest"] = "b1" * 32
    exporter = {"executorch": "1.5.1", "torch": "2.13.0", "torchao": "0.18.0"}
    manifest["backends"]["xnnpack"]["exporter"] = exporter


def _move(day: int, reason: str, valid_s: float) -> Move:
    return Move(by="ci", reason=reason, clock=lambda: BEGIN + day * DAY, valid_s=valid_s)


if __name__ == "__main__":
    made = write_folder(make_registry(), Path(sys.argv[1]))
    made.with_name(f"{made.name}.pem").write_bytes(golden_signer().public.pem)
