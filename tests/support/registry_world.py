"""A small registry in which pushes, pulls, promotes, yanks and collectors run at once.

What is assumed of the world is what `gc` assumes: a request that deletes, or that makes
something visible, takes effect within 50 minutes after it was made, or never. All else
may be stalled for as long as it likes, and everything may be killed.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from ptefoundry.errors import ConflictError, ObjectMissingError, RegistryError
from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.channels import Channel
from ptefoundry.registry.content import blob_of
from ptefoundry.registry.gc import collect
from ptefoundry.registry.mirror import mirror
from ptefoundry.registry.moves import Move, promote, roll_back
from ptefoundry.registry.names import (
    BLOBS,
    CHANNELS,
    COMPRESSED,
    CONDEMNED,
    LEASES,
    REFERRERS,
    REFS,
    Reference,
    blob_key,
    channel_key,
    compressed_key,
    referrers_key,
)
from ptefoundry.registry.oci import parse_index, parse_manifest
from ptefoundry.registry.push import NewVersion, Pushed, push_version
from ptefoundry.registry.referrers import Attachment, attach, list_referrers
from ptefoundry.registry.refs import VersionRef, find_ref, parse_ref
from ptefoundry.registry.store.interface import ObjectInfo, Store
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.sweep import FENCE_S, TAKEOVER_S
from ptefoundry.registry.trust.channel_envelope import ChannelRecord, parse_record
from ptefoundry.registry.undelete import undelete
from ptefoundry.registry.yanks import Yank, unyank, yank
from support.interleaving import Actor, ActorsStore
from support.small_versions import NAME, first_content, make_version

CHANNEL = "stable"
HOUR, DAY = 3600.0, 86400.0
GRACE = 3 * HOUR
PROMPT = TAKEOVER_S - FENCE_S
"""Seconds within which a request takes effect that nothing but time protects."""
START = 1_800_000_000.0
_PULL = GRACE - TAKEOVER_S
"""Seconds that a pull may take."""
_CONTENTS = [f"adapter {number}".encode() for number in range(5)]
_SHARED = frozenset(blob_of(content).digest for content in _CONTENTS)
_JUMPS = (1.0, 60.0, 700.0, 0.5 * HOUR, HOUR, 1.1 * HOUR, 2 * HOUR, GRACE, 1.2 * GRACE, 2 * GRACE)
_STALLS = (30, 300, 1000, 3000)
"""Steps of others during which an actor is stalled."""
_HOT = (
    ("replace", CONDEMNED),
    ("create", CONDEMNED),
    ("list", CONDEMNED),
    ("delete", BLOBS),
    ("create", REFS),
    ("replace", REFS),
    ("read", CHANNELS),
    ("create", LEASES),
    ("nothing", ""),
)
"""Calls around which the actors of a world are stalled often."""
_CACHE = BlobCache(Path("/nonexistent"))
"""Of mirrors: nothing is large enough for it."""
_Parsed = TypeVar("_Parsed")


class BrokenRegistryError(AssertionError):
    """An invariant does not hold."""


@dataclass
class World:
    """The registry, who is at work in it, and what must hold."""

    rng: random.Random
    now: float = START
    actors: list[Actor] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    """What happened how often, to know that the interesting things did."""
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = MemoryStore(clock=self.clock)
        self._needs: dict[str, frozenset[str]] = {}
        self._names: dict[str, str] = {}
        self._parsed: dict[tuple[str, str], Any] = {}
        self._malice = self.rng.random() < 0.5
        self._victim: Actor | None = None
        self._bait = ""
        self._in_use: frozenset[str] = frozenset()
        # Each world has habits of its own: what none of them avoids is seldom deep enough.
        self._hot, self._stall = self.rng.choice(_HOT), self.rng.choice((0.03, 0.1, 0.4))
        self._most, self._haste = self.rng.choice((4, 6, 8)), self.rng.choice((0.004, 0.01, 0.03))
        self._kinds = {self._push: 6, self._gc: self.rng.choice((3, 6))}
        for work in (
            *(self._pull, self._pull_channel, self._promote, self._roll_back, self._yank),
            *(self._undo, self._mirror),
        ):
            self._kinds[work] = self.rng.choice((0, 0, 1, 3))
        self._steps = 0
        self._next = 0
        self._spawned = 0

    def clock(self) -> float:
        """Everybody's clock."""
        return self.now

    def run(self, steps: int) -> None:
        """Let things happen."""
        for _ in range(steps):
            self._happen()
        while self.actors:
            self._step(self.actors[0])

    def settle(self) -> None:
        """Everybody has gone home: afterwards there is no garbage, and nothing is lost."""
        self.now += 8 * DAY
        for _ in range(4):
            collect(self.store, keep=2, grace_s=GRACE, clock=self.clock)
            self.now += 2 * GRACE
        self.check()
        kept = {info.key.removeprefix(BLOBS) for info in self.store.list(BLOBS)}
        needed, subjects = set(), set()
        for digest in self._live_digests():
            subjects.add(digest)
            needed |= self._blobs_of(digest)
        self._demand(kept == {digest[7:] for digest in needed}, "garbage is left")
        left = {info.key for prefix in (CONDEMNED, LEASES) for info in self.store.list(prefix)}
        self._demand(not left, f"left over: {left}")
        copies = {info.key for info in self.store.list(COMPRESSED)}
        self._demand(
            copies <= {compressed_key(digest) for digest in needed}, "orphaned compressed copies"
        )
        lists = {info.key for info in self.store.list(REFERRERS)}
        self._demand(lists <= {referrers_key(digest) for digest in subjects}, "orphaned lists")
        push_version(self.store, make_version("9.0.0", tuple(_CONTENTS)), by="", clock=self.clock)

    def check(self) -> None:
        """No version, and no channel, lacks a blob; no name has got another content."""
        live = {digest: self._blobs_of(digest) for digest in self._live_digests()}
        for digest, blobs in live.items():
            for needed in blobs:
                present = self.store.head(blob_key(needed)) is not None
                self._demand(present, f"{digest} lacks {needed}")
        self._in_use = frozenset().union(*live.values())

    def _happen(self) -> None:
        chance = self.rng.random()
        self._steps += 1
        awake = [actor for actor in self.actors if not self._is_held(actor)]
        if len(self.actors) < self._most and chance > 0.9:
            self._spawn()
        elif chance < 0.001 and self.actors[1:]:
            self._kill(self.rng.choice([one for one in self.actors if one is not self._victim]))
        elif chance < 0.001 + self._haste:
            self._pass_time(self.rng.choice(_JUMPS))
        elif awake:
            actor = self.rng.choice(awake)
            self._step(actor)
            actor.stopped_at = self._steps
            self._choose_victim(actor)
            if self.rng.random() < (self._stall if self._is_hot(actor) else 0.005):
                actor.asleep_until = self._steps + self.rng.choice(_STALLS)

    def _is_held(self, actor: Actor) -> bool:
        """Whether it is stalled; in a malicious world until what it may delete is in use."""
        if actor is not self._victim:
            return actor.asleep_until > self._steps
        return self._bait not in self._in_use and self._steps < actor.stopped_at + _STALLS[-1]

    def _choose_victim(self, actor: Actor) -> None:
        """One collector at a time that has just claimed a blob."""
        if not self._malice or self._victim in self.actors or actor.pending or not actor.last:
            return
        method, key = actor.last
        claimed = method == "replace" and key.startswith(CONDEMNED) and self.store.head(key)
        digest = "sha256:" + key.removeprefix(CONDEMNED).removesuffix(".json")
        if claimed and digest in _SHARED and b"deleting" in self.store.read(key, limit=999)[0]:
            self._victim, self._bait = actor, digest

    def _is_hot(self, actor: Actor) -> bool:
        """Whether it stands right before or after a call of the kind that this world stalls."""
        method, prefix = self._hot
        stop = actor.pending or actor.last
        return stop is not None and stop[0] == method and stop[1].startswith(prefix)

    def _pass_time(self, seconds: float) -> None:
        """Advance the clock; what must be prompt and would not be takes effect first, or never."""
        until = self.now + seconds
        for actor in list(self.actors):
            while actor in self.actors and self._is_late(actor, until):
                if self.rng.random() < 0.3:
                    self._kill(actor)
                else:
                    self._step(actor)
        self.now = until

    def _kill(self, actor: Actor) -> None:
        self._note(actor, "killed")
        actor.kill()
        self.actors.remove(actor)

    def _is_late(self, actor: Actor, at: float) -> bool:
        if actor.pending is None or at - actor.pending_since <= PROMPT:
            return False
        method, key = actor.pending
        shown = key.startswith((REFS, REFERRERS, CHANNELS)) and method in {"create", "replace"}
        return method == "delete" or shown

    def _step(self, actor: Actor) -> None:
        pending = actor.pending
        actor.step()
        if pending is not None:
            self._note(actor, f"{pending[0]} {pending[1]}")
            if pending[0] in {"create", "replace", "delete", "upload"}:
                self.check()
            if pending[1].startswith(COMPRESSED):
                self.seen[f"{pending[0]} a copy"] += 1
        if actor.done:
            self.actors.remove(actor)
            if actor.error is not None:
                raise actor.error

    def _spawn(self) -> None:
        work = self.rng.choices(list(self._kinds), list(self._kinds.values()))[0]
        self._spawned += 1
        label = f"{work.__name__.strip('_')}{self._spawned}"
        rng = random.Random(self.rng.random())

        def guarded(actor: Actor) -> None:
            work(actor, ActorsStore(self.store, actor), rng)

        self.actors.append(Actor(label, guarded, self.clock))

    def _push(self, _actor: Actor, store: ActorsStore, rng: random.Random) -> None:
        try:
            pushed = self._publish(store, self._next_version(rng), rng)
        except ConflictError as error:
            self.seen["push: being deleted" if "being deleted" in str(error) else "refused"] += 1
            return
        self.seen["published" if pushed.is_new else "there already"] += 1

    def _mirror(self, _actor: Actor, store: ActorsStore, rng: random.Random) -> None:
        """From a registry to which the same builders have pushed, signed by others; or twice."""
        source = MemoryStore(clock=self.clock)
        new = self._next_version(rng)
        self._publish(source, new, rng)
        wanted = Reference(name=NAME, version=new.version)
        for _ in range(rng.choice((1, 1, 2))):
            try:
                done = mirror(source, store, [wanted], policy=None, cache=_CACHE, clock=self.clock)
            except ConflictError:
                self.seen["not mirrored"] += 1
                return
            self.seen["mirrored" if done.versions else "mirrored already"] += 1

    def _next_version(self, rng: random.Random) -> NewVersion:
        if rng.random() < 0.7 or not self._next:
            self._next += 1
        number = rng.randint(max(1, self._next - 2), self._next)
        new = make_version(f"1.{number}.0", tuple(rng.sample(_CONTENTS, rng.choice((1, 1, 2)))))
        self._needs[new.index.digest] = frozenset(blob.digest for blob in new.blobs)
        return new

    def _publish(self, store: Store, new: NewVersion, rng: random.Random) -> Pushed:
        """Push with a signature, which may be a blob that versions have too."""
        files = {"signature": rng.choice([b"signature", first_content(new)])}
        attachment = Attachment(artifact_type="x/sig", media_type="x/sig", files=files)

        def sign() -> None:
            attach(store, new.index, [attachment], clock=self.clock)

        return push_version(store, new, by="", clock=self.clock, attach=sign)

    def _gc(self, actor: Actor, store: ActorsStore, rng: random.Random) -> None:
        begun = self.now
        try:
            done = collect(store, keep=rng.choice((1, 2)), grace_s=GRACE, clock=self.clock)
        except (RegistryError, ConflictError):
            # Stalled for so long that what it had read is gone: it gives up.
            self._demand(self.now - begun > _PULL, f"{actor.label} gave up for no reason")
            self.seen["gc gave up"] += 1
            return
        self.seen["removed"] += len(done.removed)
        for outcome, tally in done.blobs.items():
            self.seen[outcome] += tally.blobs

    def _pull(self, actor: Actor, store: ActorsStore, rng: random.Random) -> None:
        version = f"1.{rng.randint(max(1, self._next - 3), max(1, self._next))}.0"
        try:
            ref = find_ref(store, NAME, version)
        except RegistryError:
            return
        if ref.removed is None:
            self._read_all(actor, store, ref.digest)

    def _pull_channel(self, actor: Actor, store: ActorsStore, _rng: random.Random) -> None:
        found = Channel(store, NAME, CHANNEL).pointer()
        if found is not None:
            self._read_all(actor, store, found.record.digest)

    def _read_all(self, actor: Actor, store: ActorsStore, digest: str) -> None:
        resolved = actor.effect_at
        attached = [item.digest for item in list_referrers(store, digest)]
        for needed in (*sorted(self._needs[digest]), *attached):
            try:
                store.read(blob_key(needed), limit=1 << 20)
            except ObjectMissingError:
                late = actor.effect_at - resolved > _PULL
                self._demand(late, f"{actor.label} found {needed} of {digest} missing")
                return
        self.seen["pulled"] += 1

    def _promote(self, _actor: Actor, store: ActorsStore, rng: random.Random) -> None:
        version = f"1.{rng.randint(max(1, self._next - 3), max(1, self._next))}.0"
        move = Move(by="", reason="", clock=self.clock)
        try:
            promote(store, Channel(store, NAME, CHANNEL), version, move)
        except (RegistryError, ConflictError):
            self.seen["not promoted"] += 1
            return
        self.seen["promoted"] += 1

    def _roll_back(self, _actor: Actor, store: ActorsStore, _rng: random.Random) -> None:
        move = Move(by="", reason="", clock=self.clock)
        try:
            roll_back(store, Channel(store, NAME, CHANNEL), move)
        except (RegistryError, ConflictError):
            self.seen["not rolled back"] += 1
            return
        self.seen["rolled back"] += 1

    def _yank(self, _actor: Actor, store: ActorsStore, rng: random.Random) -> None:
        version = f"1.{rng.randint(1, max(1, self._next))}.0"
        time = "2027-01-15T08:00:00Z"
        try:
            if rng.random() < 0.3:
                unyank(store, NAME, version)
                return
            yank(store, Yank(name=NAME, version=version, reason="", time=time, by=""))
        except RegistryError:
            return

    def _undo(self, _actor: Actor, store: ActorsStore, _rng: random.Random) -> None:
        done = undelete(store, clock=self.clock)
        self.seen["restored"] += len(done.restored)

    def _live_digests(self) -> set[str]:
        """Of versions that are there, or were of late, and of what channels' clients ask for."""
        infos = {info.key: info for info in self.store.list(REFS)}
        missing = self._names.keys() - infos.keys()
        self._demand(not missing, f"{missing} are gone")
        found = set()
        for info in infos.values():
            ref = self._cached(info, self._parse_ref)
            same = self._names.setdefault(info.key, ref.digest) == ref.digest
            self._demand(same, f"{info.key} was used again")
            if ref.removed is None or self.now - info.modified < GRACE - TAKEOVER_S:
                found.add(ref.digest)
        records = [info for info in self.store.list(CHANNELS) if "/0" in info.key]
        pointer = self.store.head(channel_key(NAME, CHANNEL))
        for info in filter(None, (pointer, *records[-1:])):
            found.add(self._cached(info, self._parse_record).digest)
        return found

    def _blobs_of(self, digest: str) -> frozenset[str]:
        """Blobs of a version and its signature, which is there before its name is."""
        info = self.store.head(referrers_key(digest))
        if info is None:
            raise self._broken(f"{digest} has lost its signature")
        return self._needs[digest] | self._cached(info, self._parse_attached)

    def _cached(self, info: ObjectInfo, parse: Callable[[bytes, str], _Parsed]) -> _Parsed:
        key = info.key, info.token
        if key not in self._parsed:
            self._parsed[key] = parse(self.store.read(info.key, limit=1 << 20)[0], info.key)
        return cast("_Parsed", self._parsed[key])

    def _parse_ref(self, data: bytes, key: str) -> VersionRef:
        version = key.rpartition("/")[2].removesuffix(".json")
        return parse_ref(data, name=NAME, version=version, where=key)

    def _parse_record(self, data: bytes, key: str) -> ChannelRecord:
        return parse_record(data, name=NAME, channel=CHANNEL, policy=None, where=key)

    def _parse_attached(self, data: bytes, key: str) -> frozenset[str]:
        found = set()
        for item in parse_index(data, where=key).manifests:
            blob, _ = self.store.read(blob_key(item.digest), limit=1 << 20)
            manifest = parse_manifest(blob, where=key)
            found |= {item.digest, manifest.config.digest}
            found |= {layer.digest for layer in manifest.layers}
        self._demand(bool(found), f"{key} is empty")
        return frozenset(found)

    def _note(self, actor: Actor, what: str) -> None:
        self.trace.append(f"{(self.now - START) / HOUR:9.3f} h  {actor.label:18} {what}")

    def _demand(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise self._broken(otherwise)

    def _broken(self, what: str) -> BrokenRegistryError:
        shown = "\n".join(self.trace[-80:])
        return BrokenRegistryError(f"{what}\n{shown}")
