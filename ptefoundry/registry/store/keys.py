"""Keys that every store takes, and what is said to caches of the object behind one."""

import re
from dataclasses import dataclass

from ptefoundry.errors import StoreError
from ptefoundry.registry.names import BLOBS, CHANNELS, REFS

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_PREFIX = re.compile(rf"(?:{_PART}/)*(?:{_PART})?")
_LENGTH = 512
_PART_LENGTH = 200

_FOR_EVER = "public, max-age=31536000, immutable"
_FIVE_MINUTES = "public, max-age=300"
_ASK_FIRST = "no-cache"
_RECORD = re.compile(rf"{CHANNELS}[^/]+/[^/]+/\d{{8}}\.json")


@dataclass(frozen=True)
class ObjectHeaders:
    """HTTP headers that an object is served with."""

    content_type: str
    cache_control: str


def check_key(key: str) -> str:
    """A key, if it is one: its parts name neither a parent nor a hidden file.

    Raises:
        StoreError: it is not.
    """
    return _check(key, _KEY, "a key such as refs/name/1.0.0.json")


def check_prefix(prefix: str) -> str:
    """The beginning of a key, if it is one; it may be empty.

    Raises:
        StoreError: it is not.
    """
    return _check(prefix, _PREFIX, "the beginning of a key such as refs/name/")


def headers_of(key: str) -> ObjectHeaders:
    """How an object is to be served.

    Blobs and a channel's records never change. A version's reference changes once at
    most, when the version is removed, so it may be a little old. Everything else is a
    pointer, of which a cache has to ask whether it is still the same.
    """
    is_json = key.endswith(".json") or key == "oci-layout"
    return ObjectHeaders("application/json" if is_json else "application/octet-stream", _age(key))


def _age(key: str) -> str:
    if key.startswith(BLOBS) or _RECORD.fullmatch(key):
        return _FOR_EVER
    return _FIVE_MINUTES if key.startswith(REFS) else _ASK_FIRST


def _check(text: str, pattern: re.Pattern[str], what: str) -> str:
    too_long = len(text) > _LENGTH or any(len(part) > _PART_LENGTH for part in text.split("/"))
    if too_long or not pattern.fullmatch(text):
        raise StoreError(f"expected {what}, found {text!r:.100}")
    return text
