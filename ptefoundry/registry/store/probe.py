"""Finding out what a store can do, by doing it: documentation and version numbers lie.

Needed, as nothing else makes up for it: creating only what is not there, replacing only
what is known, reading what was just written, listing, deleting, ranges.

Not needed, but found out and written down, since it is worked around:
- checksum: a store that does not compare SHA-256 on arrival gets Content-MD5 instead.
- multipart_condition: completing an upload by parts although the key is taken. Large
  objects are blobs, whose keys are made of their digests: what overwrites one is the
  same, it was verified while it was sent, and its size is looked at afterwards.
"""

import itertools
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

from ptefoundry.errors import (
    ConfigError,
    ObjectChangedError,
    ObjectExistsError,
    RegistryError,
    StoreError,
)
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.store.s3 import S3Store
from ptefoundry.registry.store.s3_probe import refuses_second_multipart, refuses_wrong_checksum

_PREFIX = "probe/"
_WRITERS = 8
_ROUNDS = 4
_LIMIT = 1024
_GOOD = (
    "AWS S3, Cloudflare R2, Ceph from 20, MinIO and SeaweedFS from 4.18 have it, and so has a "
    "local folder"
)
_NEEDED = {
    "create_only": "writing an object only if there is none of its key (If-None-Match: *)",
    "compare_and_swap": "replacing an object only if it is still a known one (If-Match)",
    "read_after_write": "reading what has just been written",
    "list": "listing objects",
    "delete": "deleting objects",
    "ranges": "reading a part of an object (Range)",
}


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a store was found to do."""

    create_only: bool
    """Of many who create one key at once exactly one succeeds."""
    compare_and_swap: bool
    """Of many who replace one object at once exactly one succeeds."""
    read_after_write: bool
    list: bool
    delete: bool
    ranges: bool
    checksum: bool
    """A wrong SHA-256 is refused; where this is false, Content-MD5 is sent."""
    multipart_condition: bool
    """An upload by parts does not replace what is there."""

    def to_dict(self) -> dict[str, bool]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any, *, where: str) -> "Capabilities":
        """Read what `to_dict` gave; unknown names are ignored.

        Raises:
            RegistryError: something is missing or not true or false; `where` names it.
        """
        found = values if isinstance(values, dict) else {}
        known = {field.name: found.get(field.name) for field in fields(cls)}
        wrong = [name for name, value in known.items() if type(value) is not bool]
        if wrong:
            raise RegistryError(
                f"{where}: {wrong[0]}: expected true or false, found {known[wrong[0]]!r:.80}; run "
                "`ptefoundry registry init` again"
            )
        return cls(**{name: bool(value) for name, value in known.items()})

    def check(self, *, label: str) -> None:
        """Refuse a store that lacks what nothing makes up for.

        Raises:
            ConfigError: it does; names what, and stores that have it.
        """
        lacking = [text for name, text in _NEEDED.items() if not getattr(self, name)]
        if lacking:
            raise ConfigError(
                f"{label}: this store cannot hold a registry, it lacks: {'; '.join(lacking)}. "
                f"{_GOOD}"
            )


def probe(store: Store) -> Capabilities:
    """Find out what a store does, with objects below `probe/` that are removed again.

    Call `check` of the result before anything is entrusted to the store.

    Raises:
        StoreError: it cannot be reached, or may not be written to; what a store does not
            know or does wrong is no error here.
    """
    with _cleaned(store) as new_key:
        # A store that cannot be written to at all is no matter of capabilities.
        first = new_key()
        store.create(first, b"first")
        bucket = store.bucket if isinstance(store, S3Store) else None
        return Capabilities(
            create_only=_creates_once(store, first, new_key),
            compare_and_swap=_swaps_once(store, new_key),
            read_after_write=_reads_what_it_wrote(store, new_key),
            list=_lists(store, new_key),
            delete=_deletes(store, new_key),
            ranges=_reads_ranges(store, new_key),
            checksum=bucket is None or refuses_wrong_checksum(bucket, new_key()),
            multipart_condition=bucket is None or refuses_second_multipart(bucket, new_key()),
        )


def adapt(store: Store, found: Capabilities) -> None:
    """Have a store send what it was found to compare; for those that open it later."""
    if isinstance(store, S3Store) and not found.checksum:
        store.bucket.use_md5()


@contextmanager
def _cleaned(store: Store) -> Iterator[Callable[[], str]]:
    """Yields a maker of keys, whose objects are removed afterwards."""
    folder, used, numbers = f"{_PREFIX}{uuid.uuid4().hex}/", list[str](), itertools.count()

    def new_key() -> str:
        key = f"{folder}{next(numbers)}"
        used.append(key)
        return key

    try:
        yield new_key
    finally:
        for key in used:
            store.delete(key)


def _creates_once(store: Store, first: str, new_key: Callable[[], str]) -> bool:
    if _succeeds(lambda: store.create(first, b"second"), ObjectExistsError):
        return False

    def winners() -> int:
        key = new_key()
        return _at_once(lambda data: store.create(key, data), ObjectExistsError)

    return _always_one(winners)


def _swaps_once(store: Store, new_key: Callable[[], str]) -> bool:
    key = new_key()
    old = store.create(key, b"old")
    try:
        token = store.replace(key, b"new", old)
        if token == old or _succeeds(lambda: store.replace(key, b"wrong", old), ObjectChangedError):
            return False
        missing = new_key()
        if _succeeds(lambda: store.replace(missing, b"none", token), ObjectChangedError):
            return False

        def winners() -> int:
            key = new_key()
            present = store.create(key, b"present")
            return _at_once(lambda data: store.replace(key, data, present), ObjectChangedError)

        return _always_one(winners)
    except StoreError:
        # It was written to before, so this is the condition that it does not know.
        return False


def _reads_what_it_wrote(store: Store, new_key: Callable[[], str]) -> bool:
    for _ in range(_ROUNDS):
        key, data = new_key(), uuid.uuid4().bytes
        # Asked for before, it could be remembered as missing.
        if store.head(key) is not None:
            return False
        token = store.create(key, data)
        info = store.head(key)
        if info is None or (info.size, info.token) != (len(data), token):
            return False
        if store.read(key, limit=_LIMIT) != (data, token):
            return False
    return True


def _lists(store: Store, new_key: Callable[[], str]) -> bool:
    keys = [new_key() for _ in range(3)]
    for key in keys:
        store.create(key, b"listed")
    try:
        found = [info.key for info in store.list(keys[0].rpartition("/")[0] + "/")]
    except StoreError:
        return False
    return set(keys) <= set(found) and found == sorted(found)


def _deletes(store: Store, new_key: Callable[[], str]) -> bool:
    key = new_key()
    store.create(key, b"deleted")
    try:
        store.delete(key)
        # What is not there is a success.
        store.delete(key)
    except StoreError:
        return False
    return store.head(key) is None


def _reads_ranges(store: Store, new_key: Callable[[], str]) -> bool:
    key, data = new_key(), os.urandom(_LIMIT)
    store.create(key, data)
    try:
        with store.stream(key, 100, 300) as pieces:
            return b"".join(map(bytes, pieces)) == data[100:300]
    except StoreError:
        return False


def _always_one(winners: Callable[[], int]) -> bool:
    """Whether each of several rounds has one winner.

    They run side by side, as SeaweedFS lets writers of one key wait for seconds.
    """
    with ThreadPoolExecutor(_ROUNDS) as pool:
        return all(number == 1 for number in pool.map(lambda _: winners(), range(_ROUNDS)))


def _at_once(write: Callable[[bytes], object], refusal: type[StoreError]) -> int:
    """How many of several writers succeed at the same moment.

    Their bytes are all different and new: S3's tokens are digests, so who wrote again
    what is there would rightly leave the token as it is.
    """
    barrier, turn = threading.Barrier(_WRITERS), uuid.uuid4().bytes

    def attempt(number: int) -> bool:
        barrier.wait()
        return _succeeds(lambda: write(turn + bytes([number])), refusal)

    with ThreadPoolExecutor(_WRITERS) as pool:
        return sum(pool.map(attempt, range(_WRITERS)))


def _succeeds(write: Callable[[], object], refusal: type[StoreError]) -> bool:
    try:
        write()
    except refusal:
        return False
    return True
