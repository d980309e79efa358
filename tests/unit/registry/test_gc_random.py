"""Thousands of steps of pushes, pulls, promotes, yanks and collectors, in any order.

Each test is also run on code that was broken on purpose, and must find that out.
"""

import math
import random
import secrets
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext

import pytest

from ptefoundry.registry import compressed, content, parallel, push, referrers, sweep, tombstones
from ptefoundry.registry.liveness import Live
from ptefoundry.registry.sweep import Outcome, Sweeper
from ptefoundry.registry.tombstones import Tombstone, read_tombstone
from support.interleaving import Inline
from support.registry_world import BrokenRegistryError, World

STEPS = 10_000
WORLDS = 12
MOST_WORLDS = 150
"""Worlds after which a planted bug should have been found; most are within a few."""
LARGE = 128
"""Bytes from which documents have compressed copies here: indexes and manifests do."""
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def deterministic(monkeypatch: Patch) -> None:
    """What is random comes from a seed, and each actor is one thread."""
    seed_names(monkeypatch)
    monkeypatch.setattr(content, "ThreadPoolExecutor", Inline)
    monkeypatch.setattr(parallel, "ThreadPoolExecutor", Inline)
    monkeypatch.setattr(compressed, "COMPRESSED_FROM", LARGE)


def seed_names(monkeypatch: Patch) -> None:
    rng = random.Random(0)
    monkeypatch.setattr(secrets, "token_hex", lambda size: rng.randbytes(size).hex())


def test_nothing_is_lost_and_nothing_is_left() -> None:
    worlds = [World(random.Random(seed)) for seed in range(WORLDS)]
    for world in worlds:
        world.run(STEPS)
        world.settle()
    seen = sum((world.seen for world in worlds), start=Counter[str]())
    for what in (
        "published",
        "there already",
        "refused",
        "pulled",
        "promoted",
        "rolled back",
        "mirrored",
        "mirrored already",
        "not mirrored",
        "removed",
        "restored",
        "condemned",
        "rescued",
        "left",
        "deleted",
        "create a copy",
        "delete a copy",
    ):
        assert seen[what] > 0, what


def no_rescue(monkeypatch: Patch) -> None:
    """A push does not look at tombstones."""
    monkeypatch.setattr(tombstones, "rescue_blobs", lambda *_args, **_options: None)


def no_lease_and_no_second_look(monkeypatch: Patch) -> None:
    """A push sends what is missing and trusts that it stays."""
    no_rescue(monkeypatch)
    monkeypatch.setattr(push, "find_missing", lambda *_args: [])
    for module in (push, referrers):
        monkeypatch.setattr(module, "held_lease", lambda *_args, **_options: nullcontext())


def one_mark(monkeypatch: Patch) -> None:
    """What nothing refers to is deleted at once, as soon as it is old."""
    treat = Sweeper.treat

    def treat_at_once(
        self: Sweeper, digest: str, modified: float | None, note: Tombstone | None
    ) -> Outcome:
        outcome = treat(self, digest, modified, note)
        fresh = read_tombstone(self.store, digest) if outcome == "condemned" else None
        return self._delete(fresh) if fresh is not None else outcome

    monkeypatch.setattr(Sweeper, "treat", treat_at_once)


def no_time_fence(monkeypatch: Patch) -> None:
    """A collector that was stalled goes on deleting."""
    monkeypatch.setattr(sweep, "FENCE_S", math.inf)


def tombstones_read_last(monkeypatch: Patch) -> None:
    """The tombstone is read when the blob is about to be deleted, not before the marks."""
    delete = Sweeper._delete

    def delete_fresh(self: Sweeper, note: Tombstone) -> Outcome:
        fresh = read_tombstone(self.store, note.digest)
        return delete(self, fresh) if fresh is not None else "left"

    monkeypatch.setattr(Sweeper, "_delete", delete_fresh)


def no_grace_after_removal(monkeypatch: Patch) -> None:
    """An old tombstone of a blob of a version that was removed this instant counts."""
    monkeypatch.setattr(Live, "is_spared", lambda *_args: False)


@pytest.mark.parametrize(
    "plant",
    [
        no_rescue,
        no_lease_and_no_second_look,
        one_mark,
        no_time_fence,
        tombstones_read_last,
        no_grace_after_removal,
    ],
)
def test_planted_bugs_are_found(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    for seed in range(MOST_WORLDS):
        try:
            World(random.Random(seed)).run(STEPS)
        except BrokenRegistryError:
            return
    pytest.fail(f"{plant.__name__} was not noticed in {MOST_WORLDS} worlds")


def test_a_run_can_be_repeated(monkeypatch: Patch) -> None:
    traces = []
    for _ in range(2):
        seed_names(monkeypatch)
        world = World(random.Random(3))
        world.run(2000)
        traces.append(world.trace)
    assert traces[0] == traces[1]
