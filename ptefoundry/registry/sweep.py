"""One blob at a time: condemning, deleting or sparing it. `gc` says why this is safe."""

from dataclasses import dataclass
from typing import Literal

from ptefoundry.registry.documents import Clock
from ptefoundry.registry.liveness import Live
from ptefoundry.registry.names import blob_key, compressed_key, condemned_key, referrers_key
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.tombstones import (
    Tombstone,
    change_state,
    condemn_blob,
    read_tombstone,
)

FENCE_S = 600.0
"""Seconds after which a collector no longer acts upon its claim."""
TAKEOVER_S = 3600.0
"""Seconds after which a claim counts as that of a dead collector."""
LEAST_GRACE_S = 2 * 3600.0
"""The shortest grace period."""

Outcome = Literal["used", "young", "condemned", "waiting", "rescued", "deleted", "left"]
"""What became of a blob: referred to; new; condemned by this run; condemned before, or
being deleted by somebody else; no longer condemned; deleted; left to the next run, as
somebody else has changed its tombstone or this run was stalled."""


@dataclass(frozen=True, kw_only=True)
class Sweeper:
    """Decides and acts; what it knows was read after the tombstones."""

    store: Store
    live: Live
    now: float
    """When the run began, seconds since 1970: before it read anything."""
    grace_s: float
    clock: Clock
    dry_run: bool

    def treat(self, digest: str, modified: float | None, note: Tombstone | None) -> Outcome:
        """Do what is to be done with a blob.

        Args:
            digest: of the blob.
            modified: when it was stored, None if it is not there.
            note: its tombstone, if it had one when the run began.
        """
        if note is not None:
            return self._treat_noted(note, modified)
        if self.live.is_used(digest):
            return "used"
        if modified is None or not self._is_old(modified):
            return "young"
        if self.dry_run or condemn_blob(self.store, digest, clock=self.clock):
            return "condemned"
        return "waiting"

    def _treat_noted(self, note: Tombstone, modified: float | None) -> Outcome:
        claimed = note.state == "deleting"
        if claimed and self.now - note.time < TAKEOVER_S:
            return "waiting"
        if note.state == "rescued":
            return self._drop_rescued(note)
        if self.live.is_used(note.digest):
            return self._rescue(note)
        if claimed or self._is_due(note, modified):
            return self._delete(note)
        return "waiting"

    def _is_due(self, note: Tombstone, modified: float | None) -> bool:
        return (
            self._is_old(note.time)
            and (modified is None or self._is_old(modified))
            and not self.live.is_spared(note.digest)
        )

    def _is_old(self, time: float) -> bool:
        return self.now - time >= self.grace_s

    def _rescue(self, note: Tombstone) -> Outcome:
        if self.dry_run:
            return "rescued"
        rescued = change_state(self.store, note, "rescued", clock=self.clock)
        return self._drop_note(rescued) if rescued is not None else "left"

    def _drop_rescued(self, note: Tombstone) -> Outcome:
        if self.dry_run:
            return "rescued"
        # Read again: within the fence nobody can have condemned it and claimed it anew.
        begun = self.clock()
        found = read_tombstone(self.store, note.digest)
        if found is None or found.state != "rescued":
            return "left"
        return "rescued" if self._drop(condemned_key(note.digest), begun) else "left"

    def _drop_note(self, rescued: Tombstone) -> Outcome:
        key = condemned_key(rescued.digest)
        return "rescued" if self._drop(key, rescued.time) else "left"

    def _delete(self, note: Tombstone) -> Outcome:
        if self.dry_run:
            return "deleted"
        claim = change_state(self.store, note, "deleting", clock=self.clock)
        if claim is None:
            return "left"
        keys = [blob_key(claim.digest), condemned_key(claim.digest)]
        if claim.digest in self.live.subjects:
            # What was attached goes first: without its subject nobody would find it.
            keys.insert(0, referrers_key(claim.digest))
        if claim.digest in self.live.compressed:
            keys.insert(0, compressed_key(claim.digest))
        return "deleted" if all(self._drop(key, claim.time) for key in keys) else "left"

    def _drop(self, key: str, since: float) -> bool:
        """Delete an object, unless what allows it was so long ago that others may act."""
        if self.clock() - since > FENCE_S:
            return False
        self.store.delete(key)
        return True
