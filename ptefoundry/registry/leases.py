"""Leases: which content a push under way is about to refer to."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ptefoundry.digest import canonical_json
from ptefoundry.registry.documents import FORMAT_VERSION, Clock, format_time
from ptefoundry.registry.names import LEASES
from ptefoundry.registry.store.interface import Store

LEASE_S = 7 * 24 * 3600.0
"""Seconds for which a lease counts if it is not given back."""


@contextmanager
def held_lease(store: Store, digests: Sequence[str], *, clock: Clock) -> Iterator[None]:
    """Keep blobs from being collected as garbage while the block runs.

    Args:
        store: the registry's.
        digests: of the blobs, there or to come.
        clock: seconds since 1970.
    """
    key = f"{LEASES}{secrets.token_hex(16)}.json"
    expires = format_time(clock() + LEASE_S)
    fields = {"format": FORMAT_VERSION, "digests": sorted(set(digests)), "expires": expires}
    store.create(key, canonical_json(fields))
    try:
        yield
    finally:
        store.delete(key)
