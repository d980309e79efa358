"""Leases: which content a push under way is about to refer to."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ptefoundry.digest import canonical_json
from ptefoundry.errors import ObjectMissingError, RegistryError
from ptefoundry.registry.documents import (
    FORMAT_VERSION,
    Clock,
    format_time,
    parse_time,
    read_fields,
)
from ptefoundry.registry.names import LEASES, is_digest
from ptefoundry.registry.oci import DOCUMENT_LIMIT, parse_object
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.store.interface import ObjectInfo, Store

LEASE_S = 7 * 24 * 3600.0
"""Seconds for which a lease counts if it is not given back."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """What a push under way needs."""

    key: str
    digests: tuple[str, ...]
    expires: float
    """Seconds since 1970."""


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


def list_leases(store: Store) -> list[Lease]:
    """All leases, those that have expired too.

    Raises:
        RegistryError: one is malformed.
    """

    def read(info: ObjectInfo) -> Lease | None:
        try:
            data, _ = store.read(info.key, limit=DOCUMENT_LIMIT)
        except ObjectMissingError:
            return None  # Given back this instant.
        return _parse_lease(data, key=info.key, where=f"{store.url}{info.key}")

    return [found for found in for_each(read, store.list(LEASES)) if found is not None]


def _parse_lease(data: bytes, *, key: str, where: str) -> Lease:
    fields = read_fields(data, where=where)
    digests = parse_object(data, where=where).get("digests")
    if not isinstance(digests, list) or not all(
        isinstance(digest, str) and is_digest(digest) for digest in digests
    ):
        raise RegistryError(
            f"{where}: digests: expected a list of sha256:<64 hex digits>; remove it if no push "
            "is under way"
        )
    expires = parse_time(fields.text("expires"), where=f"{where}: expires")
    return Lease(key=key, digests=tuple(digests), expires=expires)
