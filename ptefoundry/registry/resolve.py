"""From what a user asks for to the index of a version, in the order that trust demands."""

from dataclasses import dataclass

from ptefoundry.errors import RegistryError
from ptefoundry.registry.channels import Channel
from ptefoundry.registry.documents import Clock
from ptefoundry.registry.names import Reference, channel_key
from ptefoundry.registry.oci import INDEX_TYPE, Descriptor
from ptefoundry.registry.refs import find_ref
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.trust.channel_envelope import ChannelRecord, check_current
from ptefoundry.registry.trust.policy import TrustPolicy
from ptefoundry.registry.trust.seen import SeenRecords
from ptefoundry.registry.yanks import Yank, find_yank


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Which version a reference names."""

    name: str
    version: str
    index: Descriptor
    record: ChannelRecord | None
    """The channel's record, None where a version was asked for."""
    yanked: Yank | None
    """Why the version should not be used, for whoever asks for it by number all the same."""

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def resolve(
    store: Store,
    reference: Reference,
    *,
    policy: TrustPolicy | None,
    seen: SeenRecords,
    clock: Clock,
) -> Resolved:
    """Find the version that a reference names.

    Args:
        store: the registry's.
        reference: `name@version` or `name:channel`.
        policy: what signatures are demanded.
        seen: the newest records that this client has seen.
        clock: seconds since 1970.

    Raises:
        RegistryError: there is no such version or channel, or it was removed.
        TrustError: the channel's record is not signed, outdated or expired.
    """
    if reference.channel is not None:
        return _resolve_channel(store, reference, policy, seen, clock)
    if reference.version is None:
        raise RegistryError(
            f"{reference}: expected a version or channel, such as {reference}@1.0.0 or "
            f"{reference}:stable, found a name alone; `ptefoundry ls` lists them"
        )
    ref = find_ref(store, reference.name, reference.version)
    if ref.removed is not None:
        raise RegistryError(f"{store.url}: {ref}: it was removed on {ref.removed}; choose another")
    return Resolved(
        name=ref.name,
        version=ref.version,
        index=Descriptor(media_type=INDEX_TYPE, digest=ref.digest, size=ref.size),
        record=None,
        yanked=find_yank(store, ref.name, ref.version),
    )


def _resolve_channel(
    store: Store,
    reference: Reference,
    policy: TrustPolicy | None,
    seen: SeenRecords,
    clock: Clock,
) -> Resolved:
    assert reference.channel is not None
    channel = Channel(store, reference.name, reference.channel, policy=policy)
    found = channel.pointer()
    if found is None:
        raise RegistryError(
            f"{store.url}: {reference}: expected a channel, found none; `ptefoundry ls` lists what "
            "there is"
        )
    where = f"{store.url}{channel_key(reference.name, reference.channel)}"
    check_current(found.record, found.data, policy=policy, now=clock(), where=where)
    seen.admit(found.record, found.data, where=where)
    record = found.record
    return Resolved(
        name=record.name,
        version=record.version,
        index=Descriptor(media_type=INDEX_TYPE, digest=record.digest, size=record.size),
        record=record,
        yanked=find_yank(store, record.name, record.version),
    )
