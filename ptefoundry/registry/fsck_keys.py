"""All objects of a registry, sorted by what their keys say that they are."""

import re
from dataclasses import dataclass, field

from ptefoundry.registry.names import (
    BLOBS,
    CHANNEL_LIST_KEY,
    CHANNELS,
    COMPRESSED,
    CONDEMNED,
    CONFIG_KEY,
    INDEX_KEY,
    LAYOUT_KEY,
    LEASES,
    REFERRERS,
    REFS,
    TEMPLATES,
    YANKS,
)
from ptefoundry.registry.store.interface import Store

_TOP = frozenset({LAYOUT_KEY, INDEX_KEY, CONFIG_KEY, CHANNEL_LIST_KEY})
_HEX = re.compile(r"[0-9a-f]{64}")
_RECORD = re.compile(rf"{CHANNELS}(?P<label>[^/]+/[^/]+)/(?P<number>[0-9]{{8}})\.json")
_POINTER = re.compile(rf"{CHANNELS}(?P<label>[^/]+/[^/]+)\.json")
_NAMED = re.compile(rf"(?:{REFS}|{YANKS})[^/]+/[^/]+\.json|{LEASES}[^/]+\.json")
_TEMPLATE = re.compile(rf"{TEMPLATES}[0-9a-f]{{64}}/[a-z]+\.(?:json|bin)")


@dataclass
class Inventory:
    """What a registry holds, by keys alone."""

    sizes: dict[bytes, int] = field(default_factory=dict)
    """Bytes of each blob by the 32 bytes of its digest: there may be very many."""
    refs: list[str] = field(default_factory=list)
    """Keys of versions."""
    yanks: list[str] = field(default_factory=list)
    """Keys of notes that versions are yanked."""
    channels: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """Numbers of the records of each name and channel."""
    subjects: set[str] = field(default_factory=set)
    """Digests that have a list of what is attached to them."""
    compressed: list[str] = field(default_factory=list)
    """Digests of documents that have a compressed copy."""
    condemned: list[str] = field(default_factory=list)
    """Digests that have a tombstone."""
    top: set[str] = field(default_factory=set)
    """Keys of the documents that a registry has once."""
    foreign: list[str] = field(default_factory=list)
    """Keys of what belongs to no registry."""


def take_inventory(store: Store) -> Inventory:
    """List a registry, once.

    Raises:
        StoreError: the store cannot list.
    """
    found = Inventory()
    for info in store.list(""):
        if not _sort_in(found, info.key, info.size):
            found.foreign.append(info.key)
    return found


def _sort_in(found: Inventory, key: str, size: int) -> bool:
    if key in _TOP:
        found.top.add(key)
    elif (digest := _hex_behind(BLOBS, key, "")) is not None:
        found.sizes[bytes.fromhex(digest)] = size
    elif (digest := _hex_behind(REFERRERS, key, ".json")) is not None:
        found.subjects.add(f"sha256:{digest}")
    elif (digest := _hex_behind(COMPRESSED, key, ".gz")) is not None:
        found.compressed.append(f"sha256:{digest}")
    elif (digest := _hex_behind(CONDEMNED, key, ".json")) is not None:
        found.condemned.append(f"sha256:{digest}")
    elif match := _RECORD.fullmatch(key) or _POINTER.fullmatch(key):
        name, _, channel = match["label"].partition("/")
        numbers = found.channels.setdefault((name, channel), [])
        if number := match.groupdict().get("number"):
            numbers.append(int(number))
    elif _NAMED.fullmatch(key):
        {REFS: found.refs, YANKS: found.yanks, LEASES: []}[key[: key.index("/") + 1]].append(key)
    else:
        return _TEMPLATE.fullmatch(key) is not None
    return True


def _hex_behind(prefix: str, key: str, end: str) -> str | None:
    if not key.startswith(prefix) or not key.endswith(end):
        return None
    text = key.removeprefix(prefix).removesuffix(end)
    return text if _HEX.fullmatch(text) else None
