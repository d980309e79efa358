"""What must hold for every document of a registry, whatever bytes a stranger puts there.

Each target reads bytes as one kind of document. It returns what it found in a form in
which equal means equal, or raises `RegistryError`, or `TrustError` for what is well-formed and
not what was asked for; any other exception is a defect.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from ptefoundry.digest import canonical_json
from ptefoundry.errors import RegistryError, TrustError
from ptefoundry.registry.channel_list import parse_channel_list
from ptefoundry.registry.chunks import CHUNK_SIZE, ChunkList, parse_chunk_list
from ptefoundry.registry.content import read_blob
from ptefoundry.registry.leases import LEASES, list_leases
from ptefoundry.registry.listing import merge_listings
from ptefoundry.registry.names import (
    CONFIG_KEY,
    blob_key,
    condemned_key,
    referrers_key,
    yank_key,
)
from ptefoundry.registry.oci import (
    MANIFEST_TYPE,
    Descriptor,
    ImageIndex,
    describe_bytes,
    parse_index,
    parse_manifest,
    parse_object,
)
from ptefoundry.registry.referrers import Attachment, attach, read_attachments
from ptefoundry.registry.refs import VersionRef, parse_ref
from ptefoundry.registry.registry import init_registry, open_registry
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.tombstones import Tombstone, read_tombstone
from ptefoundry.registry.trust.channel_envelope import ChannelRecord, parse_record
from ptefoundry.registry.yanks import Yank, find_yank
from support.packed import NAME, VERSION, Documents, pack, read_index

CHUNKED_SIZE = 20 << 20
KIND = "application/vnd.example+json"
DIGEST = "sha256:" + "ab" * 32
LEASE_KEY = f"{LEASES}0123.json"


class InconsistencyError(AssertionError):
    """A document was accepted that is not the same when it is written and read again."""


def make_targets(documents: Documents | None = None) -> dict[str, Callable[[bytes], Any]]:
    """Kind of document -> target."""
    documents = documents or pack()
    return {
        "object": _stable(lambda data: parse_object(data, where="x"), canonical_json),
        "oci index": _stable(lambda data: parse_index(data, where="x"), _to_bytes),
        "oci manifest": _stable(lambda data: parse_manifest(data, where="x"), _to_bytes),
        "version": read_index,
        "variant": documents.read_manifest,
        "listing": documents.read_listing,
        "merged listings": lambda data: merge_listings([documents.listing, data], where="x"),
        "chunk list": _stable(
            lambda data: parse_chunk_list(data, size=CHUNKED_SIZE, where="x"), _to_bytes
        ),
        "ref": _stable(
            lambda data: parse_ref(data, name=NAME, version=VERSION, where="x"), _to_bytes
        ),
        "channel record": _stable(
            lambda data: parse_record(data, name=NAME, channel="stable", policy=None, where="x"),
            _to_bytes,
        ),
        **_stored_targets(documents),
    }


def _stored_targets(documents: Documents) -> dict[str, Callable[[bytes], Any]]:
    """Documents that are read from a store at once."""
    attached, subject = _attached(documents), documents.packed.index.digest
    blobs = {info.key: attached.read(info.key, limit=info.size)[0] for info in attached.list("")}

    def read_attached(store: Store) -> Any:
        for key, data in blobs.items():
            if store.head(key) is None:
                store.create(key, data)

        def read(descriptor: Descriptor) -> bytes:
            return read_blob(store, descriptor)

        return list(read_attachments(store, subject, KIND, wanted=lambda _: True, read=read))

    def read_manifest(data: bytes) -> Any:
        """As whoever may write lists it: under its right digest and size."""
        listed = describe_bytes(data, MANIFEST_TYPE, artifact_type=KIND)
        store = MemoryStore()
        store.create(referrers_key(subject), ImageIndex(manifests=(listed,)).to_bytes())
        store.create(blob_key(listed.digest), data)
        return read_attached(store)

    def read_note(store: Store) -> Tombstone:
        found = read_tombstone(store, DIGEST)
        assert found is not None
        return replace(found, token="")

    return {
        "yank": _stable(
            _stored(yank_key(NAME, VERSION), lambda store: find_yank(store, NAME, VERSION)),
            lambda found: canonical_json({"format": 1, **asdict(found)}),
        ),
        "lease": _stored(LEASE_KEY, list_leases),
        "channel list": lambda data: parse_channel_list(data, where="x"),
        "tombstone": _stable(_stored(condemned_key(DIGEST), read_note), _to_bytes),
        "referrers": _stored(referrers_key(subject), read_attached),
        "attached manifest": read_manifest,
        "registry.json": _stable(
            _stored(CONFIG_KEY, lambda store: open_registry(store).capabilities),
            lambda found: canonical_json({"format": 1, "capabilities": found.to_dict()}),
        ),
    }


def _stored(key: str, read: Callable[[Store], Any]) -> Callable[[bytes], Any]:
    """Reads bytes that a store has under a key."""

    def target(data: bytes) -> Any:
        store = MemoryStore()
        store.create(key, data)
        return read(store)

    return target


def _attached(documents: Documents) -> MemoryStore:
    """A store that has nothing but something attached to the version."""
    store = MemoryStore()
    attachment = Attachment(artifact_type=KIND, media_type=KIND, files={"a.json": b"{}"})
    attach(store, documents.packed.index, [attachment], clock=lambda: 0.0)
    return store


def valid_documents(documents: Documents | None = None) -> dict[str, bytes]:
    """A document of each kind that its target takes."""
    documents = documents or pack()
    index = documents.packed.index
    time, chunks = "2026-11-22T08:00:00Z", -(-CHUNKED_SIZE // CHUNK_SIZE)
    ref = VersionRef(
        name=NAME, version=VERSION, digest=index.digest, size=index.size, time=time, by="ci",
        removed=time,
    )  # fmt: skip
    record = ChannelRecord(
        name=NAME, channel="stable", number=2, version=VERSION, digest=index.digest,
        size=index.size, previous="sha256:" + "0" * 64, time=time, expires=None, by="ci",
        reason="because", action="promote",
    )  # fmt: skip
    return {
        "object": documents.index,
        "oci index": documents.index,
        "oci manifest": documents.manifest,
        "version": documents.index,
        "variant": documents.manifest,
        "listing": documents.listing,
        "merged listings": documents.listing,
        "chunk list": ChunkList(CHUNK_SIZE, ("a" * 64,) * chunks).to_bytes(),
        "ref": ref.to_bytes(),
        "channel record": record.to_bytes(),
        **_valid_stored(documents, time),
    }


def _valid_stored(documents: Documents, time: str) -> dict[str, bytes]:
    yanked = Yank(name=NAME, version=VERSION, reason="is wrong", time=time, by="ci")
    note = Tombstone(digest=DIGEST, state="condemned", time=1_800_000_000.0, id="0123")
    attached, made = _attached(documents), MemoryStore()
    referrers, _ = attached.read(referrers_key(documents.packed.index.digest), limit=1 << 20)
    (listed,) = parse_index(referrers, where="x").manifests
    init_registry(made)
    return {
        "yank": canonical_json({"format": 1, **asdict(yanked)}),
        "lease": canonical_json({"format": 1, "digests": [DIGEST], "expires": time}),
        "channel list": canonical_json({"format": 1, "channels": {NAME: ["beta", "stable"]}}),
        "tombstone": note.to_bytes(),
        "referrers": referrers,
        "attached manifest": attached.read(blob_key(listed.digest), limit=1 << 20)[0],
        "registry.json": made.read(CONFIG_KEY, limit=1 << 20)[0],
    }


def survives(target: Callable[[bytes], Any], data: bytes) -> bool:
    """Whether a target took a document; refusing it is as good."""
    try:
        target(data)
    except (RegistryError, TrustError) as error:
        str(error).encode()  # can be printed
        return False
    return True


def _to_bytes(value: Any) -> bytes:
    data: bytes = value.to_bytes()
    return data


def _stable(parse: Callable[[bytes], Any], write: Callable[[Any], bytes]) -> Callable[[bytes], Any]:
    def target(data: bytes) -> Any:
        found = parse(data)
        written = write(found)
        if parse(written) != found or write(parse(written)) != written:
            raise InconsistencyError(f"{found!r:.200} is another one when it is read again")
        return found

    return target
