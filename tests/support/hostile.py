"""What must hold for every document of a registry, whatever bytes a stranger puts there.

Each target reads bytes as one kind of document. It returns what it found in a form in
which equal means equal, or raises `RegistryError`, or `TrustError` for what is well-formed and
not what was asked for; any other exception is a defect.
"""

from collections.abc import Callable
from typing import Any

from ptefoundry.digest import canonical_json
from ptefoundry.errors import RegistryError, TrustError
from ptefoundry.registry.chunks import CHUNK_SIZE, ChunkList, parse_chunk_list
from ptefoundry.registry.listing import merge_listings
from ptefoundry.registry.oci import parse_index, parse_manifest, parse_object
from ptefoundry.registry.refs import VersionRef, parse_ref
from ptefoundry.registry.trust.channel_envelope import ChannelRecord, parse_record
from support.packed import NAME, VERSION, Documents, pack, read_index

CHUNKED_SIZE = 20 << 20


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
    }


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
