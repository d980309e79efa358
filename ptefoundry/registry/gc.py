"""Collecting garbage: blobs that nothing refers to, while others push and pull.

Two marks, at least `grace` apart. The first puts a tombstone beside a blob that nothing
refers to; the second, in a later run that finds the same, replaces it by one that says
`deleting` and deletes the blob, then the tombstone. A push takes the tombstones of its
blobs back right before it publishes (`settle_blobs`), and the store lets either it or
the collector succeed. So no push is lost, whatever is paused or killed:

- A tombstone that is older than the grace period was there when a push looked that
  has published since, or has not looked yet: it is gone or will be. Tombstones are
  read before anything that refers to blobs, and only those are acted upon.
- The content of a removed version is not deleted for a grace period after it was
  removed, so that whoever pulls it has that long.
- Deleting is the only thing that a store does blindly. The collector looks at the clock
  right before and gives up if its claim is older than `FENCE_S`; another one takes a
  claim over only after `TAKEOVER_S`.

What is assumed: a request takes effect within `TAKEOVER_S - FENCE_S`, 50 minutes, after
its process has looked at the clock, or never; and clocks differ by less than
`LEAST_GRACE_S - TAKEOVER_S`, an hour. docs/adr/0017 has the proof.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace

from ptefoundry.errors import ConfigError
from ptefoundry.registry.documents import Clock, format_time
from ptefoundry.registry.leases import Lease, list_leases
from ptefoundry.registry.liveness import Live, find_live, read_channels
from ptefoundry.registry.names import BLOBS, Reference, compressed_key, is_digest
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.refs import VersionRef, list_refs
from ptefoundry.registry.retention import (
    choose_named,
    choose_old,
    list_yanked,
    remove_versions,
    restore_named,
)
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.sweep import LEAST_GRACE_S, Outcome, Sweeper
from ptefoundry.registry.tombstones import Tombstone, list_tombstones

UNFINISHED_S = 7 * 86400.0
"""Seconds after which an upload that has not ended is given up."""


@dataclass(kw_only=True)
class Tally:
    """A number of blobs."""

    blobs: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Count one."""
        self.blobs += 1
        self.bytes += size


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What a run did, or would do."""

    removed: tuple[str, ...]
    """Versions that were given up."""
    stale_leases: int
    unfinished: int
    """Uploads that were begun over `UNFINISHED_S` ago; 0 of a dry run."""
    blobs: dict[Outcome, Tally]
    """What became of all blobs."""


@dataclass(frozen=True)
class _Candidate:
    digest: str
    size: int
    modified: float | None
    note: Tombstone | None


def collect(
    store: Store,
    *,
    keep: int | None,
    grace_s: float,
    clock: Clock,
    dry_run: bool = False,
    remove: Sequence[Reference] = (),
) -> Collected:
    """Give old versions up and collect what nothing refers to.

    Args:
        store: the registry's.
        keep: newest versions to keep of each name, besides those that channels name or
            have named of late; None: all.
        grace_s: seconds between the marks, and for which new blobs are left alone.
        clock: seconds since 1970.
        dry_run: change nothing.
        remove: versions to give up in any case.

    Raises:
        ConfigError: `keep` or the grace period is too small.
        RegistryError: something that is in use is missing or malformed, so that nobody
            can say what it refers to; nothing is deleted then.
        ConflictError: a version to remove is named by a channel.
    """
    _check(keep, grace_s)
    now = clock()
    notes = {note.digest: note for note in list_tombstones(store)}
    leases = list_leases(store)
    refs, channels = list_refs(store), read_channels(store)
    old = choose_named(refs, channels, remove)
    if keep is not None:
        old += choose_old(refs, channels, list_yanked(store), keep=keep)
    names = {str(ref): ref for ref in old}
    if dry_run:
        refs = _pretend_removed(refs, names, now)
    else:
        refs = restore_named(store, refs, channels, clock=clock)
        refs = remove_versions(store, refs, names.values(), clock=clock)
    live = find_live(store, refs, channels, leases, now=now, grace_s=grace_s)
    sweeper = Sweeper(
        store=store, live=live, now=now, grace_s=grace_s, clock=clock, dry_run=dry_run
    )
    tallies: dict[Outcome, Tally] = {}
    for outcome, size in _sweep_all(store, sweeper, live, notes):
        tallies.setdefault(outcome, Tally()).add(size)
    return Collected(
        removed=tuple(str(ref) for ref in refs if ref.removed and str(ref) in names),
        stale_leases=_drop_stale(store, leases, now, dry_run=dry_run),
        unfinished=0 if dry_run else store.drop_unfinished(max(grace_s, UNFINISHED_S)),
        blobs=tallies,
    )


def _check(keep: int | None, grace_s: float) -> None:
    if keep is not None and keep < 1:
        raise ConfigError(f"keep: expected at least 1 version of each name, found {keep}")
    if grace_s < LEAST_GRACE_S:
        raise ConfigError(
            f"grace: expected at least {LEAST_GRACE_S:.0f} s, found {grace_s:.0f}: with less, the "
            "content of pushes and pulls under way could be deleted"
        )


def _pretend_removed(
    refs: Sequence[VersionRef], names: Container[str], now: float
) -> list[VersionRef]:
    time = format_time(now)
    return [replace(ref, removed=time) if str(ref) in names else ref for ref in refs]


def _sweep_all(
    store: Store, sweeper: Sweeper, live: Live, notes: dict[str, Tombstone]
) -> Iterator[tuple[Outcome, int]]:
    """Treat all blobs, then tombstones, attachments and copies of blobs that are not there."""
    unseen, copies = dict(live.subjects), set(live.compressed)

    def candidates() -> Iterator[_Candidate]:
        for info in store.list(BLOBS):
            digest = f"sha256:{info.key.removeprefix(BLOBS)}"
            if is_digest(digest):
                unseen.pop(digest, None)
                copies.discard(digest)
                yield _Candidate(digest, info.size, info.modified, notes.pop(digest, None))
        for digest, modified in unseen.items():
            yield _Candidate(digest, 0, modified, notes.pop(digest, None))
        for digest, note in notes.items():
            yield _Candidate(digest, 0, None, note)

    def treat(one: _Candidate) -> tuple[Outcome, int]:
        return sweeper.treat(one.digest, one.modified, one.note), one.size

    yield from for_each(treat, candidates())
    if not sweeper.dry_run:
        # Kept by a push while its document was deleted. A push that is just bringing that back
        # may lose the copy by this: readers take the document then.
        list(for_each(store.delete, map(compressed_key, copies)))


def _drop_stale(store: Store, leases: Sequence[Lease], now: float, *, dry_run: bool) -> int:
    """Remove leases that nobody has given back; their keys are never used again."""
    stale = [lease.key for lease in leases if lease.expires <= now]
    if not dry_run:
        list(for_each(store.delete, stale))
    return len(stale)
