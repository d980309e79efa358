"""Checking a registry: everything that is there, and everything that should be."""

import time
from collections.abc import Callable, Sequence

from ptefoundry.errors import ConfigError, RegistryError
from ptefoundry.registry.catalog import read_catalog, rebuild_catalog
from ptefoundry.registry.channel_list import rebuild_channel_list
from ptefoundry.registry.documents import Clock
from ptefoundry.registry.findings import MIRROR, Finding, Kind, Report
from ptefoundry.registry.fsck_channels import check_channels, compare_list
from ptefoundry.registry.fsck_content import check_compressed, find_altered, is_intact
from ptefoundry.registry.fsck_keys import Inventory, take_inventory
from ptefoundry.registry.fsck_trust import check_trust
from ptefoundry.registry.names import (
    CHANNEL_LIST_KEY,
    CONFIG_KEY,
    INDEX_KEY,
    LAYOUT_KEY,
    YANKS,
    blob_key,
    check_name,
    check_version,
    condemned_key,
    hex_of,
)
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.references import Edge, root_edge, walk
from ptefoundry.registry.refs import VersionRef, find_ref
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.tombstones import read_tombstone
from ptefoundry.registry.trust.policy import TrustPolicy
from ptefoundry.registry.yanks import find_yank

_ATTACH_AGAIN = (
    "restore it from a backup, or delete it and push the bundle again, which attaches to the "
    "version what belongs to it"
)
_KEEP = (
    "keep the object; restore what refers to it from a backup, or give the version up with "
    "`ptefoundry gc --remove NAME@VERSION` and push it under the next number"
)


def check_registry(
    store: Store,
    *,
    deep: bool = False,
    repair: bool = False,
    policy: TrustPolicy | None = None,
    clock: Clock = time.time,
) -> Report:
    """Check that each version has its content, and what else belongs to a registry.

    Others may push and pull meanwhile.

    Args:
        store: the registry's.
        deep: read all blobs and compare them with their digests; else only their sizes.
        repair: write index.json and channels.json anew and move pointers on where they are
            wrong. Nothing else is changed, and nothing is deleted.
        policy: who must have signed versions and channels; None: that is not looked at.
        clock: seconds since 1970.

    Raises:
        StoreError: the store cannot be reached, or cannot list.
    """
    return _Check(store, deep=deep, repair=repair).run(policy, clock)


class _Check:
    def __init__(self, store: Store, *, deep: bool, repair: bool) -> None:
        self.store, self.deep, self.repair = store, deep, repair
        self.report = Report()

    def run(self, policy: TrustPolicy | None, clock: Clock) -> Report:
        inventory = take_inventory(self.store)
        for key in inventory.foreign:
            self._add("foreign", key, "expected no such object", "remove it", harmless=True)
        for key in (LAYOUT_KEY, CONFIG_KEY, INDEX_KEY):
            if key not in inventory.top:
                remedy = "run `ptefoundry registry init` again"
                self._add("missing", key, "expected it, found nothing", remedy)
        refs = self._read_refs(inventory)
        self._check_yanks(inventory)
        used = self._check_content(refs, inventory)
        self._check_catalog(refs)
        self._check_channel_list(inventory)
        self._check_tombstones(inventory, used)
        known = {(ref.name, ref.version): ref for ref in refs}
        found = check_channels(self.store, inventory.channels, known, repair=self.repair)
        self.report.findings += found
        if policy is not None:
            names = sorted(inventory.channels)
            self.report.findings += check_trust(self.store, policy, refs, names, now=clock())
        self.report.versions = sum(ref.removed is None for ref in refs)
        self.report.channels = len(inventory.channels)
        return self.report

    def _read_refs(self, inventory: Inventory) -> list[VersionRef]:
        def read(key: str) -> VersionRef | None:
            name, _, version = key.removeprefix("refs/").removesuffix(".json").partition("/")
            try:
                return find_ref(self.store, check_name(name), check_version(version))
            except (RegistryError, ConfigError) as error:
                remedy = "restore it from a backup or another registry: it is a version's name"
                self._add("malformed", key, str(error), remedy)
                return None

        return [ref for ref in for_each(read, inventory.refs) if ref is not None]

    def _check_yanks(self, inventory: Inventory) -> None:
        for key in inventory.yanks:
            name, _, version = key.removeprefix(YANKS).removesuffix(".json").partition("/")
            try:
                find_yank(self.store, check_name(name), check_version(version))
            except (RegistryError, ConfigError) as error:
                remedy = "delete it, and yank the version again: nobody can pull it meanwhile"
                self._add("malformed", key, str(error), remedy)

    def _check_content(self, refs: Sequence[VersionRef], inventory: Inventory) -> set[bytes]:
        """Follow all references; returns digests of the blobs that are in use."""
        reported: set[str] = set()
        sizes: dict[bytes, int] = {}
        lists: dict[str, Edge] = {}

        def failed(edge: Edge, key: str, error: RegistryError) -> None:
            if key != blob_key(edge.target.digest):
                self._add("malformed", key, str(error), _ATTACH_AGAIN)
            elif edge.target.digest not in reported:
                self._add("malformed", key, str(error), f"delete the object, then {MIRROR}")

        roots = [root_edge(ref.digest, ref.size, owner=str(ref)) for ref in refs if not ref.removed]
        for edge in walk(self.store, roots, subjects=inventory.subjects, failed=failed):
            digest, size = edge.target.digest, edge.target.size
            sizes[bytes.fromhex(hex_of(digest))] = size
            if edge.chunks_of is not None:
                lists[edge.chunks_of.digest] = edge
            if digest not in reported and not self._is_there(edge, inventory):
                reported.add(digest)
        everything = inventory.sizes
        self.report.blobs, self.report.bytes = len(everything), sum(everything.values())
        unused = everything.keys() - sizes.keys()
        self.report.unreferenced = len(unused)
        self.report.unreferenced_bytes = sum(everything[digest] for digest in unused)
        altered = find_altered(self.store, everything, lists, skip=reported, deep=self.deep)
        self.report.findings += altered.findings
        self.report.hashed = altered.hashed
        self.report.findings += check_compressed(
            self.store, inventory.compressed, everything, deep=self.deep
        )
        return set(sizes)

    def _is_there(self, edge: Edge, inventory: Inventory) -> bool:
        key, expected = blob_key(edge.target.digest), edge.target.size
        found = inventory.sizes.get(bytes.fromhex(hex_of(edge.target.digest)))
        if found is None and (info := self.store.head(key)) is not None:
            found = info.size  # Pushed since the registry was listed.
        if found == expected:
            return True
        wanted = f"{edge.owner} refers to it"
        if found is None:
            problem = f"expected {expected} bytes, as {wanted}; found nothing"
            self._add("missing", key, problem, MIRROR)
        else:
            problem = f"expected {expected} bytes, as {wanted}; found {found}"
            remedy = f"delete the object, then {MIRROR}"
            if is_intact(self.store, edge.target.digest, found):
                problem += ", which have its digest: what refers to it is wrong"
                remedy = _KEEP
            self._add("size", key, problem, remedy)
        return False

    def _check_catalog(self, refs: Sequence[VersionRef]) -> None:
        expected = {str(ref): ref.digest for ref in refs if ref.removed is None}
        try:
            listed = {str(name): descriptor.digest for name, descriptor in read_catalog(self.store)}
        except RegistryError as error:
            problem = str(error)
        else:
            if listed == expected:
                return
            wrong = sorted(dict(expected.items() ^ listed.items()))
            problem = f"expected exactly the versions, found differences in {', '.join(wrong[:5])}"
        self._add_derived(INDEX_KEY, problem, rebuild_catalog)

    def _check_channel_list(self, inventory: Inventory) -> None:
        problem = compare_list(self.store, inventory.channels)
        if problem is not None:
            is_old = CHANNEL_LIST_KEY not in inventory.top
            self._add_derived(CHANNEL_LIST_KEY, problem, rebuild_channel_list, harmless=is_old)

    def _add_derived(
        self, key: str, problem: str, rebuild: Callable[[Store], None], *, harmless: bool = False
    ) -> None:
        """What is wrong with a document that follows from others, which is written anew."""
        remedy, repaired = "run `ptefoundry fsck --repair`, which writes it anew", False
        if self.repair:
            try:
                rebuild(self.store)
                repaired = True
            except RegistryError as error:
                problem = f"{problem}; it cannot be written anew: {error}"
                remedy = "see to the other faults first; if it is too large, delete it"
        self._add("catalog", key, problem, remedy, harmless=harmless, repaired=repaired)

    def _check_tombstones(self, inventory: Inventory, used: set[bytes]) -> None:
        for digest in inventory.condemned:
            try:
                note = read_tombstone(self.store, digest)
            except RegistryError as error:
                remedy = "remove it: it only says that a blob may be garbage"
                self._add("malformed", condemned_key(digest), str(error), remedy)
                continue
            if note is None or note.state == "rescued":
                continue
            if bytes.fromhex(hex_of(digest)) in used:
                problem = (
                    f"expected no tombstone of a blob in use, found one that says {note.state}"
                )
                remedy = "run `ptefoundry gc`, which takes it back"
                harmless = note.state == "condemned"
                self._add("tombstone", condemned_key(digest), problem, remedy, harmless=harmless)

    def _add(
        self,
        kind: Kind,
        key: str,
        problem: str,
        remedy: str,
        *,
        harmless: bool = False,
        repaired: bool = False,
    ) -> None:
        self.report.findings.append(
            Finding(
                kind=kind,
                key=key,
                problem=problem,
                remedy=remedy,
                harmless=harmless,
                repaired=repaired,
            )
        )
