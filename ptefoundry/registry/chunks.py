"""Chunk lists: the digests of a large blob's equal pieces.

With one a blob is fetched in parallel, checked as it arrives and continued after
a kill. It is a blob of its own, canonical JSON:
{"format": 1, "chunk_size": 8388608, "prefix_sha256": ["<hex>", ...], "sha256": ["<hex>", ...]}.

A prefix is all of the blob up to a chunk's end. Whoever hashes the blob from its beginning
passes by the digests of all prefixes, so one hash checks each chunk and the whole.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptefoundry.digest import canonical_json
from ptefoundry.errors import ArtifactError, RegistryError
from ptefoundry.registry.oci import parse_object

CHUNK_SIZE = 8 << 20
"""Bytes of all chunks but the last. Files of no more than that never have a list."""
CHUNKED_FROM = 64 << 20
"""Bytes from which on several requests for a file are worth those for its chunk list."""
_FORMAT = 1
_SMALLEST, _LARGEST = 64 << 10, 1 << 30
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Chunk:
    """One piece of a blob: the bytes from `start` to before `end`."""

    index: int
    start: int
    end: int
    sha256: str
    """64 hex digits."""
    prefix_sha256: str | None = None
    """64 hex digits, of the blob's bytes up to `end`."""


@dataclass(frozen=True)
class ChunkList:
    """The digests of a blob's pieces."""

    chunk_size: int
    """Bytes of each piece but the last."""
    sha256: tuple[str, ...]
    """64 hex digits for each piece."""
    prefix_sha256: tuple[str, ...] | None = None
    """64 hex digits for each prefix; lists of earlier writers have none."""

    def chunks(self, size: int) -> list[Chunk]:
        """The pieces of a blob of `size` bytes."""
        step, prefixes = self.chunk_size, self.prefix_sha256 or (None,) * len(self.sha256)
        return [
            Chunk(index, index * step, min((index + 1) * step, size), sha256, prefix)
            for index, (sha256, prefix) in enumerate(zip(self.sha256, prefixes, strict=True))
        ]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        fields = {"format": _FORMAT, "chunk_size": self.chunk_size, "sha256": list(self.sha256)}
        if self.prefix_sha256 is not None:
            fields["prefix_sha256"] = list(self.prefix_sha256)
        return canonical_json(fields)


def has_chunk_list(size: int) -> bool:
    """Whether a file of `size` bytes gets a chunk list, and is fetched by it."""
    return size >= CHUNKED_FROM


def hash_chunks(path: Path, *, size: int, sha256: str) -> ChunkList | None:
    """Read a file once: check that it is the one meant, and hash its pieces if it gets a list.

    Args:
        path: the file.
        size: bytes that it must have.
        sha256: digest in hex that it must have.

    Raises:
        ArtifactError: it is missing or another file.
    """
    has_list = has_chunk_list(size)
    whole, digests, prefixes, found = hashlib.sha256(), list[str](), list[str](), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_SIZE):
                whole.update(chunk)
                if has_list:
                    digests.append(hashlib.sha256(chunk).hexdigest())
                    prefixes.append(whole.hexdigest())
                found += len(chunk)
    except OSError as error:
        raise ArtifactError(
            f"{path}: expected a file ({error}); build or pull the bundle again"
        ) from error
    if (found, whole.hexdigest()) != (size, sha256):
        raise ArtifactError(
            f"{path}: expected {size} bytes of sha256 {sha256}, found {found} of "
            f"{whole.hexdigest()}; it was altered, build or pull the bundle again"
        )
    return ChunkList(CHUNK_SIZE, tuple(digests), tuple(prefixes)) if has_list else None


def parse_chunk_list(data: bytes, *, size: int, where: str) -> ChunkList:
    """Read the chunk list of a blob of `size` bytes.

    Raises:
        RegistryError: it is none, or not one of a blob of that size; `where` names it.
    """
    fields = parse_object(data, where=where)
    if fields.get("format") != _FORMAT:
        raise RegistryError(f"{where}: format: expected {_FORMAT}, found {fields.get('format')!r}")
    step = fields.get("chunk_size")
    if type(step) is not int or not _SMALLEST <= step <= _LARGEST:
        raise RegistryError(
            f"{where}: chunk_size: expected {_SMALLEST} to {_LARGEST} bytes, found {step!r:.80}"
        )
    count = -(-size // step)
    digests = _digests(fields, "sha256", count, where)
    if "prefix_sha256" not in fields:
        return ChunkList(step, digests)
    return ChunkList(step, digests, _digests(fields, "prefix_sha256", count, where))


def _digests(fields: Mapping[str, Any], name: str, count: int, where: str) -> tuple[str, ...]:
    digests = fields.get(name)
    if not isinstance(digests, list) or not all(
        isinstance(digest, str) and _SHA256.fullmatch(digest) for digest in digests
    ):
        raise RegistryError(f"{where}: {name}: expected a list of digests of 64 hex digits")
    if len(digests) != count:
        raise RegistryError(
            f"{where}: {name}: expected {count} digests for as many pieces, found {len(digests)}"
        )
    return tuple(digests)
