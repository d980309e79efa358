"""Checking a registry against a trust policy: what would its clients refuse?"""

from collections.abc import Iterable, Iterator

from ptefoundry.errors import ConfigError, ObjectMissingError, RegistryError, TrustError
from ptefoundry.registry.channels import Channel
from ptefoundry.registry.findings import Finding
from ptefoundry.registry.names import channel_key, check_channel, check_name, ref_key
from ptefoundry.registry.refs import VersionRef
from ptefoundry.registry.signed_version import check_version_signed
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.trust.channel_envelope import check_current
from ptefoundry.registry.trust.policy import TrustPolicy

_SIGN = (
    "push the same bundle again with a key that the policy trusts, or give the version up with "
    "`ptefoundry gc --remove NAME@VERSION`"
)
_REFRESH = "look at `ptefoundry log`, then refresh it with `ptefoundry promote`"


def check_trust(
    store: Store,
    policy: TrustPolicy,
    refs: Iterable[VersionRef],
    channels: Iterable[tuple[str, str]],
    *,
    now: float,
) -> Iterator[Finding]:
    """Each version and channel that clients with this policy refuse.

    Channels that are malformed are for `check_channels` to find.

    Args:
        store: the registry's.
        policy: the clients'.
        refs: versions; removed ones are left out.
        channels: names and channels.
        now: seconds since 1970.
    """
    for ref in refs:
        if ref.removed is None and (problem := _refused_version(store, ref, policy, now)):
            key = ref_key(ref.name, ref.version)
            yield Finding(kind="trust", key=key, problem=problem, remedy=_SIGN)
    for name, channel in channels:
        if problem := _refused_channel(store, name, channel, policy, now):
            key = channel_key(name, channel)
            yield Finding(kind="trust", key=key, problem=problem, remedy=_REFRESH)


def _refused_version(store: Store, ref: VersionRef, policy: TrustPolicy, now: float) -> str | None:
    try:
        check_version_signed(store, ref, policy=policy, now=now)
    except (TrustError, RegistryError, ObjectMissingError) as error:
        return str(error)
    return None


def _refused_channel(
    store: Store, name: str, channel: str, policy: TrustPolicy, now: float
) -> str | None:
    where = f"{store.url}{channel_key(name, channel)}"
    try:
        opened = Channel(store, check_name(name), check_channel(channel), policy=policy)
        pointer = opened.pointer()
        if pointer is not None:
            check_current(pointer.record, pointer.data, policy=policy, now=now, where=where)
    except TrustError as error:
        return str(error)
    except (RegistryError, ConfigError):
        return None
    return None
