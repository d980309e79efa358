"""Collecting garbage step by step, and what stops it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ptefoundry.digest import canonical_json
from ptefoundry.errors import ConfigError, ConflictError, RegistryError
from ptefoundry.registry.catalog import read_catalog
from ptefoundry.registry.channels import Channel
from ptefoundry.registry.content import blob_of
from ptefoundry.registry.gc import Collected, collect
from ptefoundry.registry.leases import LEASE_S, held_lease
from ptefoundry.registry.moves import Move, promote
from ptefoundry.registry.names import (
    BLOBS,
    CONDEMNED,
    LEASES,
    Reference,
    blob_key,
    compressed_key,
    condemned_key,
    referrers_key,
)
from ptefoundry.registry.push import push_version
from ptefoundry.registry.referrers import Attachment, attach
from ptefoundry.registry.refs import find_ref
from ptefoundry.registry.store.interface import ObjectInfo
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.tombstones import Tombstone, read_tombstone
from ptefoundry.registry.undelete import undelete
from ptefoundry.registry.yanks import Yank, yank
from support.small_versions import NAME, make_version

HOUR = 3600.0
GRACE = 3 * HOUR
BEGIN = 1_800_000_000.0
GARBAGE = blob_of(b"garbage")


class Place:
    """A registry whose time is set by hand."""

    def __init__(self) -> None:
        self.now = BEGIN
        self.store = CountingStore(clock=self.clock)

    def clock(self) -> float:
        return self.now

    def push(self, *versions: str) -> None:
        for version in versions:
            new = make_version(version, (b"foundation", version.encode()))
            push_version(self.store, new, by="red", clock=self.clock)

    def promote(self, version: str) -> None:
        channel = Channel(self.store, NAME, "stable")
        promote(self.store, channel, version, Move(by="red", reason="", clock=self.clock))

    def collect(
        self, *, keep: int | None = None, dry_run: bool = False, remove: str | None = None
    ) -> Collected:
        wanted = [Reference(NAME, version=remove)] if remove else []
        return collect(
            self.store, keep=keep, grace_s=GRACE, clock=self.clock, dry_run=dry_run, remove=wanted
        )

    def counts(self, done: Collected) -> dict[str, int]:
        return {outcome: tally.blobs for outcome, tally in done.blobs.items()}

    def has(self, digest: str) -> bool:
        return self.store.head(blob_key(digest)) is not None

    def blobs(self) -> int:
        return len(list(self.store.list(BLOBS)))


class CountingStore(MemoryStore):
    """Counts listings of blobs; has one upload that never ended."""

    listed = 0
    unfinished_s = 8 * 86400.0
    """Seconds since the upload began."""

    def drop_unfinished(self, older_than_s: float) -> int:
        if self.unfinished_s < older_than_s:
            return 0
        self.unfinished_s = 0.0
        return 1

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self.listed += prefix == BLOBS
        return super().list(prefix)


@pytest.fixture
def place() -> Place:
    place = Place()
    place.push("1.0.0")
    place.store.create(blob_key(GARBAGE.digest), b"garbage")
    return place


def test_garbage_goes_in_two_runs_a_grace_period_apart(place: Place) -> None:
    assert place.counts(place.collect()) == {"used": 5, "young": 1}
    place.now += GRACE
    assert place.counts(place.collect()) == {"used": 5, "condemned": 1}
    place.now += GRACE - 1
    assert place.counts(place.collect()) == {"used": 5, "waiting": 1}
    place.now += 1
    done = place.collect()
    assert (done.blobs["deleted"].blobs, done.blobs["deleted"].bytes) == (1, len(b"garbage"))
    assert not place.has(GARBAGE.digest)
    assert list(place.store.list(CONDEMNED)) == []
    assert place.counts(place.collect()) == {"used": 5}


def test_a_run_lists_blobs_once(place: Place) -> None:
    place.now += GRACE
    place.collect(keep=1)
    assert place.store.listed == 1


def test_a_dry_run_changes_nothing(place: Place) -> None:
    place.push("1.1.0", "1.2.0")
    place.now += GRACE
    before = {info.key: info.token for info in place.store.list("")}
    done = place.collect(keep=2, dry_run=True)
    assert done.removed == ("a@1.0.0",)
    assert place.counts(done)["condemned"] == 4
    assert {info.key: info.token for info in place.store.list("")} == before


@pytest.mark.parametrize(("keep", "grace_s"), [(0, GRACE), (1, 2 * HOUR - 1)])
def test_too_little_is_refused(place: Place, keep: int, grace_s: float) -> None:
    with pytest.raises(ConfigError, match="expected at least"):
        collect(place.store, keep=keep, grace_s=grace_s, clock=place.clock)


def test_old_versions_are_given_up_and_their_names_stay_taken(place: Place) -> None:
    place.push("1.10.0", "1.9.0", "2.0.0-rc.1")
    assert place.collect(keep=2).removed == ("a@1.0.0", "a@1.9.0")
    listed = [str(reference) for reference, _ in read_catalog(place.store)]
    assert listed == ["a@1.10.0", "a@2.0.0-rc.1"]
    with pytest.raises(ConflictError, match="removed on"):
        place.push("1.9.0")
    for _ in range(3):
        place.now += GRACE
        place.collect(keep=2)
    assert not place.has(make_version("1.9.0", (b"foundation", b"1.9.0")).index.digest)
    assert place.has(blob_of(b"foundation").digest)
    assert find_ref(place.store, NAME, "1.9.0").removed is not None


def test_what_channels_name_or_named_of_late_is_kept(place: Place) -> None:
    place.push("1.1.0", "1.2.0", "1.3.0")
    place.promote("1.0.0")
    place.promote("1.1.0")
    assert place.collect(keep=1).removed == ("a@1.2.0",)
    for _ in range(5):
        place.promote("1.1.0")
        place.promote("1.3.0")
    assert place.collect(keep=1).removed == ("a@1.0.0",)


def test_yanked_versions_take_no_place_and_stay_among_their_neighbours(place: Place) -> None:
    place.push("1.1.0", "1.2.0", "1.3.0")
    time = "2027-01-15T08:00:00Z"
    for version in ("1.0.0", "1.2.0"):
        yank(place.store, Yank(name=NAME, version=version, reason="x", time=time, by="red"))
    assert place.collect(keep=2).removed == ("a@1.0.0",)


def test_a_version_can_be_given_up_by_name_unless_a_channel_names_it(place: Place) -> None:
    place.push("1.1.0")
    place.promote("1.1.0")
    with pytest.raises(ConflictError, match="a:stable; promote another"):
        place.collect(remove="1.1.0")
    with pytest.raises(RegistryError, match=r"a@7\.0\.0: expected a version"):
        place.collect(remove="7.0.0")
    assert place.collect(remove="1.0.0").removed == ("a@1.0.0",)


def test_a_version_that_was_promoted_while_it_was_removed_comes_back(place: Place) -> None:
    place.push("1.1.0")
    place.collect(remove="1.0.0")
    ref = find_ref(place.store, NAME, "1.0.0")
    record = replace(_newest_record(place), version="1.0.0", digest=ref.digest, size=ref.size)
    Channel(place.store, NAME, "stable").move(record)
    place.now += 5 * GRACE
    place.collect(keep=1)
    assert find_ref(place.store, NAME, "1.0.0").removed is None


def test_undo_takes_back_what_is_still_there(place: Place) -> None:
    place.push("1.1.0")
    place.now += GRACE
    place.collect(remove="1.0.0")
    place.now += 1
    done = undelete(place.store, clock=place.clock)
    assert (done.blobs, done.restored, done.lost) == (4, ("a@1.0.0",), {})
    assert [str(reference) for reference, _ in read_catalog(place.store)] == ["a@1.0.0", "a@1.1.0"]
    place.now += GRACE
    assert place.counts(place.collect()) == {"used": 5, "rescued": 4}
    place.collect(remove="1.0.0")
    for _ in range(2):
        place.now += GRACE
        place.collect()
    done = undelete(place.store, clock=place.clock)
    assert done.restored == ()
    assert "found no such object" in done.lost["a@1.0.0"]


def test_a_lease_keeps_blobs_until_it_expires(place: Place) -> None:
    place.now += GRACE
    lease = held_lease(place.store, [GARBAGE.digest], clock=place.clock)
    lease.__enter__()
    assert place.counts(place.collect()) == {"used": 6}
    place.now += LEASE_S
    done = place.collect()
    assert done.stale_leases == 1
    assert place.counts(done) == {"used": 5, "condemned": 1}
    assert list(place.store.list(LEASES)) == []


def test_uploads_that_never_ended_are_dropped(place: Place) -> None:
    assert place.collect(dry_run=True).unfinished == 0
    assert place.collect().unfinished == 1
    assert place.collect().unfinished == 0


def test_attachments_live_and_go_with_their_version(place: Place) -> None:
    index = make_version("1.0.0", (b"foundation", b"1.0.0")).index
    attachment = Attachment(artifact_type="x/y", media_type="x/y", files={"sbom": b"bill"})
    attach(place.store, index, [attachment], clock=place.clock)
    place.now += 2 * GRACE
    assert place.counts(place.collect()) == {"used": 7, "condemned": 1}
    place.push("1.1.0")
    place.collect(remove="1.0.0")
    for _ in range(2):
        place.now += GRACE
        place.collect()
    assert place.store.head(referrers_key(index.digest)) is None
    assert not place.has(blob_of(b"bill").digest)
    assert place.blobs() == 5


def test_an_orphaned_list_of_attachments_goes(place: Place) -> None:
    index = make_version("5.0.0", (b"never pushed",)).index
    attach(
        place.store,
        index,
        [Attachment(artifact_type="x/y", media_type="x/y", files={"sbom": b"bill"})],
        clock=place.clock,
    )
    for _ in range(3):
        place.now += GRACE
        place.collect()
    assert place.store.head(referrers_key(index.digest)) is None
    assert place.blobs() == 5
    assert list(place.store.list(CONDEMNED)) == []


def test_an_orphaned_copy_of_a_document_goes(place: Place) -> None:
    """As a push leaves one that keeps it while its document is deleted."""
    kept, orphan = (compressed_key(blob_of(data).digest) for data in (b"1.0.0", b"gone"))
    for key in (kept, orphan):
        place.store.create(key, b"a copy")
    place.collect(dry_run=True)
    assert place.store.head(orphan) is not None
    place.collect()
    assert place.store.head(orphan) is None
    assert place.store.head(kept) is not None


@pytest.mark.parametrize(("minutes", "outcome"), [(59, "waiting"), (60, "deleted")])
def test_what_a_dead_collector_began_is_finished_after_an_hour(
    place: Place, minutes: int, outcome: str
) -> None:
    note = Tombstone(digest=GARBAGE.digest, state="deleting", time=place.now)
    place.store.create(condemned_key(GARBAGE.digest), note.to_bytes())
    place.now += minutes * 60
    assert place.counts(place.collect())[outcome] == 1
    assert place.has(GARBAGE.digest) == (outcome == "waiting")


def test_a_collector_that_was_stalled_gives_up(place: Place) -> None:
    place.now += GRACE
    place.collect()
    place.now += GRACE

    def stall(key: str, data: bytes, token: str) -> str:
        token = MemoryStore.replace(place.store, key, data, token)
        place.now += 601
        return token

    place.store.replace = stall  # type: ignore[method-assign]
    assert place.counts(place.collect()) == {"used": 5, "left": 1}
    assert place.has(GARBAGE.digest)


def test_a_claim_on_a_blob_in_use_is_taken_back(place: Place) -> None:
    foundation = blob_of(b"foundation").digest
    note = Tombstone(digest=foundation, state="deleting", time=place.now)
    place.store.create(condemned_key(foundation), note.to_bytes())
    place.now += HOUR
    assert place.counts(place.collect())["rescued"] == 1
    assert place.has(foundation)
    assert read_tombstone(place.store, foundation) is None


@pytest.mark.parametrize(
    "spoil", ["manifest", "index", "ref", "lease", "tombstone", "record", "list"]
)
def test_malformed_documents_stop_it_before_anything_is_deleted(place: Place, spoil: str) -> None:
    new = make_version("1.0.0", (b"foundation", b"1.0.0"))
    place.promote("1.0.0")
    place.now += GRACE
    place.collect()
    place.now += GRACE
    key = {
        "manifest": blob_key(new.blobs[-2].digest),
        "index": blob_key(new.index.digest),
        "ref": "refs/a/1.0.0.json",
        "lease": "leases/x.json",
        "tombstone": condemned_key(blob_of(b"other").digest),
        "record": "channels/a/stable/00000002.json",
        "list": referrers_key(new.index.digest),
    }[spoil]
    place.store.delete(key)
    place.store.create(key, b"{}" if spoil != "manifest" else b"{" * new.blobs[-2].size)
    with pytest.raises(RegistryError, match=key.replace(".", r"\.")):
        place.collect(keep=1)
    assert place.has(GARBAGE.digest)


def test_a_missing_document_stops_it(place: Place) -> None:
    new = make_version("1.0.0", (b"foundation", b"1.0.0"))
    place.store.delete(blob_key(new.blobs[-2].digest))
    with pytest.raises(RegistryError, match="found no such object; run `ptefoundry fsck`"):
        place.collect()


def test_unknown_kinds_of_references_stop_it(place: Place) -> None:
    index = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{"mediaType": "x/new", "digest": GARBAGE.digest, "size": 7}],
        }
    )
    blob = blob_of(index)
    new = make_version("1.1.0", (b"x",))
    new = replace(new, index=replace(new.index, digest=blob.digest, size=blob.size), blobs=(blob,))
    push_version(place.store, new, by="red", clock=place.clock)
    with pytest.raises(RegistryError, match="x/new'; use a newer ptefoundry"):
        place.collect()


def _newest_record(place: Place):  # type: ignore[no-untyped-def]
    place.promote("1.1.0")
    found = Channel(place.store, NAME, "stable").newest()
    assert found is not None
    return found.record
