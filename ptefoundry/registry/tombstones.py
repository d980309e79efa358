"""Tombstones: notes that nothing refers to a blob, and how a push takes them back.

A blob is deleted by whoever replaces `condemned` with `deleting`; a push that needs
it replaces `condemned` with `rescued`. The store lets one of the two succeed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast, get_args

from ptefoundry.digest import canonical_json
from ptefoundry.errors import (
    ConflictError,
    ObjectChangedError,
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
from ptefoundry.registry.names import CONDEMNED, condemned_key
from ptefoundry.registry.store.interface import Store

State = Literal["condemned", "rescued", "deleting"]


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """What is noted of a blob."""

    digest: str
    state: State
    time: float
    """When it got into this state, seconds since 1970."""
    token: str = ""
    """Of the stored note."""

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        fields = {"state": self.state, "time": format_time(self.time)}
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
    time = parse_time(fields.text("time"), where=f"{fields.where}: time")
    return Tombstone(digest=digest, state=cast("State", state), time=time, token=token)


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
                "is being deleted; push again in a minute, and run `ptefoundry gc` if it stays so"
            )
        rescued = Tombstone(digest=digest, state="rescued", time=clock())
        try:
            store.replace(condemned_key(digest), rescued.to_bytes(), found.token)
        except ObjectChangedError:
            continue
        return
