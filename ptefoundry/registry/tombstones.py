"""Tombstones: notes that nothing refers to a blob, and how a push takes them back.

A blob is deleted by whoever replaces `condemned` with `deleting`; a push that needs
it replaces `condemned` with `rescued`. The store lets one of the two succeed.
"""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, cast, get_args

from ptefoundry.digest import canonical_json
from ptefoundry.errors import (
    ConflictError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
    RegistryError,
)
from ptefoundry.registry.documents import (
    DOCUMENT_LIMIT,
    FORMAT_VERSION,
    Clock,
    format_time,
    parse_time,
    read_fields,
)
from ptefoundry.registry.names import CONDEMNED, condemned_key, is_digest
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.store.interface import ObjectInfo, Store

State = Literal["condemned", "rescued", "deleting"]
_FRESH_S = 600.0
"""Seconds for which a check that everything is there counts; far less than any grace."""


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """What is noted of a blob."""

    digest: str
    state: State
    time: float
    """When it got into this state, seconds since 1970."""
    token: str = ""
    """Of the stored note."""
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    """Different in each note, as some stores give notes of the same bytes the same token."""

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        fields = {"state": self.state, "time": format_time(self.time), "id": self.id}
        return canonical_json({"format": FORMAT_VERSION, **fields})


def read_tombstone(store: Store, digest: str) -> Tombstone | None:
    """What is noted of a blob, None if nothing is.

    Raises:
        RegistryError: the note is malformed.
    """
    key = condemned_key(digest)
    try:
        data, token = store.read(key, limit=DOCUMENT_LIMIT)
    except ObjectMissingError:
        return None
    fields = read_fields(data, where=f"{store.url}{key}")
    state = fields.text("state")
    if state not in get_args(State):
        raise RegistryError(f"{fields.where}: state: expected {get_args(State)}, found {state!r}")
    return Tombstone(
        digest=digest,
        state=cast("State", state),
        time=parse_time(fields.text("time"), where=f"{fields.where}: time"),
        token=token,
        id=fields.optional_text("id") or "",
    )


def list_tombstones(store: Store) -> list[Tombstone]:
    """All notes; a time is not before the store's own, should its writer have been stalled.

    Raises:
        RegistryError: one is malformed, or there is something else among them.
    """

    def read(info: ObjectInfo) -> Tombstone | None:
        digest = f"sha256:{info.key.removeprefix(CONDEMNED).removesuffix('.json')}"
        if not is_digest(digest) or condemned_key(digest) != info.key:
            raise RegistryError(f"{store.url}{info.key}: expected <64 hex digits>.json; remove it")
        found = read_tombstone(store, digest)
        if found is None or found.token != info.token:
            return None  # Changed this instant: a matter for the next run.
        return replace(found, time=max(found.time, info.modified))

    return [found for found in for_each(read, store.list(CONDEMNED)) if found is not None]


def condemn_blob(store: Store, digest: str, *, clock: Clock) -> bool:
    """Note that nothing refers to a blob; False if there is a note already."""
    note = Tombstone(digest=digest, state="condemned", time=clock())
    try:
        store.create(condemned_key(digest), note.to_bytes())
    except ObjectExistsError:
        return False
    return True


def change_state(store: Store, found: Tombstone, state: State, *, clock: Clock) -> Tombstone | None:
    """Replace a note; None if somebody else has done so since it was read."""
    changed = Tombstone(digest=found.digest, state=state, time=clock())
    try:
        token = store.replace(condemned_key(found.digest), changed.to_bytes(), found.token)
    except ObjectChangedError:
        return None
    return replace(changed, token=token)


def settle_blobs(
    store: Store, digests: Iterable[str], complete: Callable[[], object], *, clock: Clock
) -> None:
    """Make sure that content is there and stays; call it right before referring to it.

    No blob is deleted sooner than a grace period, of hours at least, after the tombstone
    that condemned it. So what has none now may be referred to within that time.

    Args:
        store: the registry's.
        digests: of the blobs.
        complete: sends what is missing; called again if it took so long that blobs may
            have been condemned and deleted meanwhile.
        clock: seconds since 1970.

    Raises:
        ConflictError: a blob is being deleted at this moment.
    """
    digests = list(digests)
    while True:
        begun = clock()
        rescue_blobs(store, digests, clock=clock)
        complete()
        if clock() - begun < _FRESH_S:
            return


def rescue_blobs(store: Store, digests: Iterable[str], *, clock: Clock) -> None:
    """Take back the tombstones of blobs that are about to be referred to.

    Raises:
        ConflictError: one of them is being deleted at this moment.
    """
    noted = {info.key for info in store.list(CONDEMNED)}
    for digest in digests:
        if condemned_key(digest) in noted:
            _rescue(store, digest, clock)


def _rescue(store: Store, digest: str, clock: Clock) -> None:
    while (found := read_tombstone(store, digest)) is not None and found.state != "rescued":
        if found.state == "deleting":
            raise ConflictError(
                f"{store.url}{condemned_key(digest)}: expected a blob to use again, found one that "
                "is being deleted; push again in a minute, and run `ptefoundry gc` if it is still "
                "so after an hour"
            )
        if change_state(store, found, "rescued", clock=clock):
            return
