"""From a bundle's folder through a registry into another folder, as an app has it."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier

import pytest

from ptefoundry.bundle.check import check_files
from ptefoundry.bundle.manifest import MEASURED_FILE, load_manifest
from ptefoundry.digest import hash_file
from ptefoundry.errors import (
    ConfigError,
    ConflictError,
    DigestMismatchError,
    RegistryError,
    TrustError,
)
from ptefoundry.files import write_json
from ptefoundry.registry.attached import verify_provenance
from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.check import check_version
from ptefoundry.registry.content import read_blob
from ptefoundry.registry.differences import compare
from ptefoundry.registry.modelpack import TITLE
from ptefoundry.registry.names import CONFIG_KEY, LEASES, parse_reference
from ptefoundry.registry.oci import Descriptor
from ptefoundry.registry.overview import list_versions
from ptefoundry.registry.pack import pack_bundle
from ptefoundry.registry.publish import (
    BILL_FILE,
    BILL_TYPE,
    MEASURED_TYPE,
    PROVENANCE_TYPE,
    SIGNATURES_TYPE,
    publish,
)
from ptefoundry.registry.pull import Pulled, Puller
from ptefoundry.registry.push import Pushed
from ptefoundry.registry.referrers import (
    MOST_WRITTEN,
    Attachment,
    attach,
    list_referrers,
    read_attachments,
)
from ptefoundry.registry.refs import list_refs
from ptefoundry.registry.registry import init_registry, open_registry
from ptefoundry.registry.resolve import Resolved, resolve
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.trust.build_record import BuildRecord, GitState
from ptefoundry.registry.trust.kept_record import describe_bundle
from ptefoundry.registry.trust.keys import Signer, generate_signer
from ptefoundry.registry.trust.policy import TrustedKey, TrustPolicy
from ptefoundry.registry.trust.seen import SeenRecords
from ptefoundry.registry.trust.signed_content import files_of_packed
from support.killing_store import killed_everywhere
from support.packed import copy_bundle, replace_file

NOW = 1_800_000_000.0
SIGNER = generate_signer()
POLICY = TrustPolicy(keys=(TrustedKey(key=SIGNER.public),))
STRANGER = TrustPolicy(keys=(TrustedKey(key=generate_signer().public),))


@dataclass
class Place:
    """A registry in memory, a builder's folder and a client's."""

    root: Path
    store: MemoryStore = field(default_factory=MemoryStore)

    @property
    def bundle(self) -> Path:
        return self.root / "bundle"

    def push(self, version: str, *signers: Signer, record: BuildRecord | None = None) -> Pushed:
        packed = pack_bundle(self.bundle, version=version)
        return publish(
            self.store,
            packed,
            self.bundle,
            signers=signers,
            record=record,
            by="red",
            clock=lambda: NOW,
        )

    def open(self, text: str, policy: TrustPolicy | None) -> tuple[Puller, Resolved]:
        found = resolve(
            self.store,
            parse_reference(text),
            policy=policy,
            seen=SeenRecords(self.root / "seen", self.store.url),
            clock=lambda: NOW,
        )
        cache = BlobCache(self.root / "cache")
        puller = Puller(store=self.store, cache=cache, policy=policy, clock=lambda: NOW)
        return puller, found

    def attached(self, digest: str, artifact_type: str) -> list[dict[str, bytes]]:
        """Files of what is attached to a version."""
        return list(
            read_attachments(
                self.store,
                digest,
                artifact_type,
                wanted=lambda _: True,
                read=lambda descriptor: read_blob(self.store, descriptor),
            )
        )

    def pull(self, text: str, *adapters: str, policy: TrustPolicy | None = None) -> Pulled:
        puller, found = self.open(text, policy)
        entries = puller.read_version(found).variants
        chosen = [entry for entry in entries if not adapters or entry.facts.adapter in adapters]
        return puller.pull(found, chosen, self.root / "phone")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    copy_bundle(tmp_path / "bundle")
    return Place(tmp_path)


def adapters(folder: Path) -> list[str]:
    return [variant.adapter for variant in load_manifest(folder).variants]


def test_files_of_an_attachment_are_read_at_the_same_time(place: Place) -> None:
    """One after the other, a pull of many adapters would wait for the store as many times."""
    place.push("1.0.0", SIGNER)
    _, found = place.open("tiny@1.0.0", None)
    all_four = Barrier(4)

    def read(descriptor: Descriptor) -> bytes:
        if TITLE in descriptor.annotations:
            all_four.wait(timeout=60)
        return read_blob(place.store, descriptor)

    (files,) = read_attachments(
        place.store, found.index.digest, SIGNATURES_TYPE, wanted=lambda _: True, read=read
    )
    whose = {name.rsplit(".", 2)[0] for name in files}
    assert whose == {"version", "xnnpack.base", "xnnpack.blue", "xnnpack.red"}


def test_what_is_pulled_is_the_bundle(place: Place) -> None:
    place.push("1.0.0")
    pulled = place.pull("tiny@1.0.0")
    check_files(pulled.into)
    assert load_manifest(pulled.into).digest == load_manifest(place.bundle).digest


def test_a_folder_holds_what_was_asked_for_last(place: Place) -> None:
    place.push("1.0.0")
    one = place.pull("tiny@1.0.0", "red")
    assert adapters(one.into) == ["red"]
    both = place.pull("tiny@1.0.0", "red", "blue")
    assert adapters(both.into) == ["blue", "red"]
    check_files(both.into)
    again = place.pull("tiny@1.0.0", "red", "blue")
    assert (again.changed, again.fetched.received) == (0, 0)
    assert adapters(place.pull("tiny@1.0.0", "base").into) == ["base"]


def test_an_update_moves_the_adapter_alone(place: Place) -> None:
    place.push("1.0.0")
    place.pull("tiny@1.0.0")
    program = (place.bundle / "xnnpack" / "blue.pte").read_bytes()
    replace_file(place.bundle, "xnnpack/red.pte", program[:-1] + b"\x01")
    pushed = place.push("1.1.0")
    assert len(program) < sum(blob.size for blob in pushed.sent.sent) < len(program) + 65536
    pulled = place.pull("tiny@1.1.0")
    assert pulled.fetched.received == len(program)
    check_files(pulled.into)


def test_two_versions_are_compared(place: Place) -> None:
    place.push("1.0.0")
    program = (place.bundle / "xnnpack" / "blue.pte").read_bytes()
    replace_file(place.bundle, "xnnpack/red.pte", program)
    place.push("1.1.0")
    contents = []
    for row in list_versions(place.store, "tiny", policy=None):
        puller, found = place.open(str(row.ref), None)
        contents.append(puller.read_variants(puller.read_version(found).variants))
    difference = compare(*contents)
    assert [change.path for change in difference.files] == ["xnnpack/red.pte"]
    # The client has blue's program, and red's is the same now.
    assert difference.moved_bytes == 0
    assert difference.variants_added == difference.variants_removed == ()


def test_measurements_are_kept_beside_the_version(place: Place) -> None:
    write_json(place.bundle / MEASURED_FILE, {"xnnpack/base": {"decode_tok_s": 40}})
    first = place.push("1.0.0")
    write_json(place.bundle / MEASURED_FILE, {"xnnpack/base": {"decode_tok_s": 20}})
    second = place.push("1.0.0")
    assert (first.is_new, second.is_new) == (True, False)
    assert first.ref == second.ref
    (kept,) = place.attached(first.ref.digest, MEASURED_TYPE)
    assert b"40" in kept[MEASURED_FILE]


def test_a_push_may_be_killed_at_any_change_and_loses_nothing(place: Place) -> None:
    write_json(place.bundle / MEASURED_FILE, {"xnnpack/base": {"decode_tok_s": 40}})
    place.push("1.0.0", SIGNER)
    whole = contents(place.store)
    assert len(place.attached(list_refs(place.store)[0].digest, MEASURED_TYPE)) == 1
    kills = 0

    def push(store: MemoryStore) -> None:
        place.store = store
        place.push("1.0.0", SIGNER)

    for store in killed_everywhere(push, now=NOW):
        kills += 1
        if list_refs(store):
            assert place.pull("tiny@1.0.0", policy=POLICY).signatures
        place.push("1.0.0", SIGNER)
        assert contents(store) == whole
    assert kills > len(whole)


def contents(store: MemoryStore) -> dict[str, bytes]:
    """Objects by key, but for leases, which killed pushes leave to the collector."""
    keys = (info.key for info in store.list("") if not info.key.startswith(LEASES))
    return {key: store.read(key, limit=1 << 20)[0] for key in keys}


def a_record(place: Place, *, run: str) -> BuildRecord:
    """How one run of CI built the bundle."""
    packed = pack_bundle(place.bundle, version="1.0.0")
    environment = {"GITHUB_SERVER_URL": "https://x", "GITHUB_WORKFLOW_REF": "w"}
    bare = describe_bundle(packed.bundle, files_of_packed(packed))
    git = GitState(commit="e" * 40, repository="https://example.org/a.git")
    return replace(bare, git=git, environment={**environment, "GITHUB_RUN_ID": run})


def test_each_version_has_a_bill_of_materials(place: Place) -> None:
    digest = place.push("1.0.0").ref.digest
    (bill,) = place.attached(digest, BILL_TYPE)
    components = json.loads(bill[BILL_FILE])["components"]
    assert {"tests/tiny", "blue", "red", "xnnpack/red.pte"} <= {one["name"] for one in components}
    place.push("1.0.0", SIGNER, record=a_record(place, run="1"))
    (better,) = place.attached(digest, BILL_TYPE)
    # Who knows less of the build than who pushed before adds nothing.
    place.push("1.0.0")
    assert place.attached(digest, BILL_TYPE) == [better]


def test_each_key_has_one_provenance_however_often_it_pushes(place: Place) -> None:
    other = generate_signer()
    for run in ("1", "2", "3"):
        pushed = place.push("1.0.0", SIGNER, record=a_record(place, run=run))
    place.push("1.0.0", other, record=a_record(place, run="4"))
    place.push("1.0.0", record=a_record(place, run="5"))
    before = list_referrers(place.store, pushed.ref.digest)
    place.push("1.0.0", SIGNER, record=a_record(place, run="3"))
    assert list_referrers(place.store, pushed.ref.digest) == before
    found = place.attached(pushed.ref.digest, PROVENANCE_TYPE)
    names = [name for files in found for name in files]
    assert names == [
        "provenance.json",
        *(f"provenance.{key.public.id[:16]}.sigstore.json" for key in (other, SIGNER)),
    ]
    own = base64.b64decode(json.loads(found[-1][names[-1]])["dsseEnvelope"]["payload"])
    assert b"runs/3/" in own


def test_provenance_is_verified_under_a_policy(place: Place) -> None:
    place.push("1.0.0", SIGNER)
    _, resolved = place.open("tiny@1.0.0", None)
    assert verify_provenance(place.store, resolved, policy=POLICY, now=NOW) == []
    place.push("1.0.0", record=a_record(place, run="1"))
    with pytest.raises(TrustError, match=r"provenance\.json: .*push the bundle again"):
        verify_provenance(place.store, resolved, policy=POLICY, now=NOW)
    place.push("1.0.0", SIGNER, record=a_record(place, run="2"))
    (stated,) = verify_provenance(place.store, resolved, policy=POLICY, now=NOW)
    assert (stated.builder, stated.source) == (
        "https://x/w",
        f"git+https://example.org/a.git#{'e' * 40}",
    )
    with pytest.raises(TrustError, match="trusted key"):
        verify_provenance(place.store, resolved, policy=STRANGER, now=NOW)


def test_a_version_takes_no_more_attachments_than_readers_do(place: Place) -> None:
    pushed = place.push("1.0.0", SIGNER)
    index = pack_bundle(place.bundle, version="1.0.0").index
    many = [
        Attachment(artifact_type="a/b", media_type="a/b", files={f"{number}": b""})
        for number in range(MOST_WRITTEN)
    ]
    there = len(list_referrers(place.store, pushed.ref.digest))
    attach(place.store, index, many[there:], clock=lambda: NOW)
    with pytest.raises(RegistryError, match=r"at most 500 attachments .*the next number"):
        attach(place.store, index, many[:1], clock=lambda: NOW)
    with pytest.raises(RegistryError, match="at most 500"):
        place.push("1.0.0", generate_signer())
    attach(place.store, index, many[there:], clock=lambda: NOW)
    assert place.pull("tiny@1.0.0", policy=POLICY).version == "1.0.0"


def test_other_content_under_the_same_version_is_refused(place: Place) -> None:
    place.push("1.0.0")
    program = (place.bundle / "xnnpack" / "blue.pte").read_bytes()
    replace_file(place.bundle, "xnnpack/red.pte", program)
    with pytest.raises(ConflictError, match="push under the next number"):
        place.push("1.0.0")


def test_signing_again_adds_nothing_and_another_key_adds_itself(place: Place) -> None:
    digest = place.push("1.0.0", SIGNER).ref.digest
    place.push("1.0.0", SIGNER)
    assert len(place.attached(digest, SIGNATURES_TYPE)) == 1
    place.push("1.0.0", generate_signer())
    assert len(place.attached(digest, SIGNATURES_TYPE)) == 2
    assert place.pull("tiny@1.0.0", "red", policy=POLICY).version == "1.0.0"


@pytest.mark.parametrize("signers", [(), (generate_signer(),)], ids=["unsigned", "another key"])
def test_what_no_trusted_key_signed_never_arrives(
    place: Place, signers: tuple[Signer, ...]
) -> None:
    place.push("1.0.0", *signers)
    with pytest.raises(TrustError, match="expected a signature"):
        place.pull("tiny@1.0.0", "red", policy=POLICY)
    assert not (place.root / "phone").exists()


def test_an_altered_blob_leaves_the_folder_as_it_was(place: Place) -> None:
    place.push("1.0.0")
    before = place.pull("tiny@1.0.0", "base").into
    names = sorted(path.name for path in before.rglob("*"))
    for info in list(place.store.list("blobs/")):
        if info.size == (place.bundle / "xnnpack" / "red.pte").stat().st_size:
            data, token = place.store.read(info.key, limit=info.size)
            place.store.replace(info.key, data[:-1] + b"\xff", token)
    with pytest.raises(DigestMismatchError, match=r"sha256"):
        place.pull("tiny@1.0.0", "red")
    assert sorted(path.name for path in before.rglob("*")) == names


def test_a_version_is_checked_from_its_index_to_its_bytes(place: Place) -> None:
    place.push("1.0.0", SIGNER)
    puller, found = place.open("tiny@1.0.0", POLICY)
    for deep in (False, True):
        checked = check_version(puller, found, deep=deep)
        assert checked.problems == ()
    assert checked.bytes > sum(entry.size for entry in load_manifest(place.bundle).files)
    program = hash_file(place.bundle / "xnnpack" / "red.pte")
    data, token = place.store.read(f"blobs/sha256/{program}", limit=1 << 20)
    place.store.replace(f"blobs/sha256/{program}", data[:-1] + b"\xff", token)
    place.store.delete(f"blobs/sha256/{hash_file(place.bundle / 'model.json')}")
    (problem,) = check_version(puller, found, deep=False).problems
    assert problem.endswith(": missing")
    problems = check_version(puller, found, deep=True).problems
    assert len(problems) == 2
    assert any(f"{program}: expected that sha256" in line for line in problems)
    with pytest.raises(TrustError, match="of a trusted key"):
        check_version(*place.open("tiny@1.0.0", STRANGER), deep=False)


def test_a_folder_of_somebody_else_is_left_alone(place: Place) -> None:
    place.push("1.0.0")
    (place.root / "phone").mkdir()
    (place.root / "phone" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        place.pull("tiny@1.0.0")


def test_a_registry_is_made_once_and_opened(place: Place) -> None:
    with pytest.raises(RegistryError, match="registry init"):
        open_registry(place.store)
    made = init_registry(place.store)
    place.push("1.0.0")
    assert init_registry(place.store) == made == open_registry(place.store)
    assert [str(row.ref) for row in list_versions(place.store, None, policy=None)] == ["tiny@1.0.0"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data.replace(b'"format":1', b'"format":2'),
        lambda data: data.replace(b'"list":true', b'"list":"yes"'),
        lambda data: data[:-2],
    ],
    ids=["newer", "wrong type", "cut"],
)
def test_an_altered_configuration_is_refused(place: Place, edit: Callable[[bytes], bytes]) -> None:
    init_registry(place.store)
    data, token = place.store.read(CONFIG_KEY, limit=1 << 20)
    assert edit(data) != data
    place.store.replace(CONFIG_KEY, edit(data), token)
    with pytest.raises(RegistryError, match=r"registry\.json"):
        open_registry(place.store)
