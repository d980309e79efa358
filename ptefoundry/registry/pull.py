"""Pulling: the files of some variants of a version, in a folder, verified all the way.

Order of trust: the channel's record (`resolve`), the index by its digest, the
version's signature, the variants' manifests by their digests, the files by theirs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.bundle.manifest import MANIFEST_FILE, SIGNATURES
from ptefoundry.errors import RegistryError
from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.compressed import read_document
from ptefoundry.registry.documents import Clock
from ptefoundry.registry.download import WantedBlob
from ptefoundry.registry.fetch import Fetched, fetch_blobs
from ptefoundry.registry.listing import merge_listings, read_listing
from ptefoundry.registry.oci import Descriptor
from ptefoundry.registry.place import (
    TargetFile,
    bundle_files,
    check_target_room,
    inspect_target,
    publish,
)
from ptefoundry.registry.publish import SIGNATURES_TYPE
from ptefoundry.registry.referrers import read_attachments
from ptefoundry.registry.resolve import Resolved
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.trust.policy import TrustPolicy
from ptefoundry.registry.trust.signed_content import files_of_contents
from ptefoundry.registry.trust.version_signatures import open_version, verify_version
from ptefoundry.registry.version import (
    Layer,
    VariantContent,
    VariantEntry,
    Version,
    read_variant,
    read_version,
)


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What a pull did."""

    name: str
    version: str
    variants: tuple[VariantEntry, ...]
    into: Path
    fetched: Fetched
    changed: int
    """Files of the target that were not there before, or with other content."""
    signatures: tuple[str, ...]
    """Files in the target's `signatures`."""


@dataclass(frozen=True, kw_only=True)
class Puller:
    """Pulls from one registry."""

    store: Store
    cache: BlobCache
    policy: TrustPolicy | None
    """Whose signatures are demanded; None: they are not looked at."""
    clock: Clock
    """Seconds since 1970."""

    def read_version(self, resolved: Resolved) -> Version:
        """The index of a version, which a trusted key has signed if a policy demands it.

        Raises:
            TrustError: none has.
            RegistryError: it is malformed.
        """
        if self.policy is not None:
            open_version(
                self._signatures(resolved, ()),
                name=resolved.name,
                version=resolved.version,
                index=resolved.index.digest,
                policy=self.policy,
                now=self.clock(),
                where=f"{self.store.url}: {resolved}",
            )
        data = self._read_document(resolved.index)
        return read_version(
            data,
            name=resolved.name,
            version=resolved.version,
            where=f"{self.store.url}{resolved.index.digest}",
        )

    def read_variants(self, entries: Iterable[VariantEntry]) -> list[VariantContent]:
        """The manifests of variants."""
        entries = list(entries)
        documents = self._read([entry.descriptor for entry in entries])
        return [
            read_variant(
                data, expected=entry.facts, where=f"{self.store.url}{entry.descriptor.digest}"
            )
            for entry, data in zip(entries, documents, strict=True)
        ]

    def pull(
        self,
        resolved: Resolved,
        entries: Sequence[VariantEntry],
        into: Path,
        *,
        rehash: bool = False,
    ) -> Pulled:
        """Make a folder what the variants are; it holds them and nothing else afterwards.

        Args:
            resolved: the version.
            entries: variants of its index.
            into: the folder; an older bundle in it is replaced in one step, its files
                that are still of use are kept.
            rehash: hash kept files too, as a disk that rots shows in no time of change.

        Raises:
            TrustError: the version is not signed as the policy demands.
            RegistryError: something in the registry is malformed or missing.
            DigestMismatchError: the store sends wrong bytes.
            ConfigError: the folder holds something else.
            DiskFullError: a disk has no room for what is missing.
        """
        with self.cache.session():
            contents = self.read_variants(entries)
            signatures = self.verify_files(resolved, contents)
            layers = _layers(contents)
            listing = self._merged_listing(resolved, contents)
            files = [
                *(_target(layer) for layer in layers.values()),
                self._keep(MANIFEST_FILE, listing),
                *(
                    self._keep(f"{SIGNATURES}/{name}", data)
                    for name, data in sorted(signatures.items())
                ),
            ]
            target = inspect_target(
                into, files, self.cache, replaceable=bundle_files(into), rehash=rehash
            )
            check_target_room(target, self.cache)
            missing = {file.path for file in target.missing}
            wanted = [_wanted_layer(layer) for path, layer in layers.items() if path in missing]
            fetched = fetch_blobs(self.store, wanted, self.cache, label=f"pull {resolved}")
            publish(target, self.cache)
        return Pulled(
            name=resolved.name,
            version=resolved.version,
            variants=tuple(entries),
            into=into,
            fetched=fetched,
            changed=len(missing),
            signatures=tuple(sorted(signatures)),
        )

    def verify_files(
        self, resolved: Resolved, contents: Sequence[VariantContent]
    ) -> Mapping[str, bytes]:
        """Signatures of the version, which cover the variants' files if a policy demands any.

        Returns:
            Name in the folder `signatures` -> what is in the file.

        Raises:
            TrustError: no trusted key has signed these files as this version's.
        """
        variants = [f"{content.facts.backend}.{content.facts.adapter}" for content in contents]
        found = self._signatures(resolved, variants)
        if self.policy is not None:
            verify_version(
                found,
                files_of_contents(resolved.name, resolved.version, resolved.index.digest, contents),
                policy=self.policy,
                now=self.clock(),
                where=f"{self.store.url}: {resolved}",
            )
        return found

    def _signatures(self, resolved: Resolved, variants: Iterable[str]) -> Mapping[str, bytes]:
        """Signatures of a whole version, and those of some variants."""
        wanted = ("version.", *(f"{variant}." for variant in variants))
        attached = read_attachments(
            self.store,
            resolved.index.digest,
            SIGNATURES_TYPE,
            wanted=lambda name: name.startswith(wanted),
            read=self._read_document,
        )
        found: dict[str, bytes] = {}
        for files in attached:
            found = {**files, **found}
        return found

    def _merged_listing(self, resolved: Resolved, contents: Sequence[VariantContent]) -> bytes:
        """The folder's manifest, from those of the variants once each is what it must be."""
        listings = self._read([content.listing.descriptor for content in contents])
        for content, data in zip(contents, listings, strict=True):
            where = f"{self.store.url}{content.listing.descriptor.digest}"
            read_listing(data, name=resolved.name, content=content, where=where)
        return merge_listings(listings, where=f"{self.store.url}: {resolved}")

    def _read(self, descriptors: Sequence[Descriptor]) -> list[bytes]:
        """Small blobs, from the cache or through it; those that it lacks are fetched together."""
        fetch_blobs(self.store, map(_wanted, descriptors), self.cache, label="manifests")
        return [self._fetched(descriptor) for descriptor in descriptors]

    def _fetched(self, descriptor: Descriptor) -> bytes:
        data = self.cache.read(descriptor.digest, descriptor.size)
        if data is None:
            raise RegistryError(
                f"{self.cache.path(descriptor.digest)}: expected a blob that was just fetched, "
                "found none; somebody empties the cache meanwhile: run again"
            )
        return data

    def _read_document(self, descriptor: Descriptor) -> bytes:
        """A document that may be large, from the cache or through it."""
        data = self.cache.read(descriptor.digest, descriptor.size)
        if data is None:
            data = read_document(self.store, descriptor)
            self.cache.put(data)
        return data

    def _keep(self, path: str, data: bytes) -> TargetFile:
        return TargetFile(path=path, digest=self.cache.put(data), size=len(data))


def _layers(contents: Iterable[VariantContent]) -> dict[str, Layer]:
    """Files by path; variants may share them but not differ in them."""
    found: dict[str, Layer] = {}
    for content in contents:
        for layer in content.layers[:-1]:
            other = found.setdefault(layer.path, layer)
            if other.descriptor.digest != layer.descriptor.digest:
                facts = content.facts
                raise RegistryError(
                    f"{facts.backend}/{facts.adapter}: {layer.path}: expected the file of the "
                    f"other variants, {other.descriptor.digest}, found {layer.descriptor.digest}; "
                    "pull them into folders of their own"
                )
    return found


def _wanted(descriptor: Descriptor) -> WantedBlob:
    return WantedBlob(digest=descriptor.digest, size=descriptor.size)


def _wanted_layer(layer: Layer) -> WantedBlob:
    chunks = layer.chunks
    return WantedBlob(
        digest=layer.descriptor.digest,
        size=layer.descriptor.size,
        chunks=WantedBlob(digest=chunks.digest, size=chunks.size) if chunks else None,
    )


def _target(layer: Layer) -> TargetFile:
    return TargetFile(path=layer.path, digest=layer.descriptor.digest, size=layer.descriptor.size)
