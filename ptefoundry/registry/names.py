"""Names of bundles, versions and channels, and the keys of a registry's objects.

oci-layout, index.json                    an OCI image layout; index.json is derived
blobs/sha256/<hex>                        all content, immutable
compressed/sha256/<hex>.gz                copies of large documents among it
registry.json                             format and what the store was found to do
channels.json                             which channels there are; derived
refs/<name>/<version>.json                a version, created once
channels/<name>/<channel>.json            a channel's newest record, replaced
channels/<name>/<channel>/<number>.json   all its records, each created once
yanks/<name>/<version>.json               why a version should not be used
referrers/sha256/<hex>.json               what is attached to a manifest
leases/<id>.json                          pushes under way
gc/condemned/<hex>.json                   blobs that nothing refers to
templates/<hex>/<file>                    program templates that builders share
"""

import re
from dataclasses import dataclass

from ptefoundry.errors import ConfigError, RegistryError

LAYOUT_KEY, INDEX_KEY, CONFIG_KEY = "oci-layout", "index.json", "registry.json"
CHANNEL_LIST_KEY = "channels.json"
BLOBS, REFS, CHANNELS, YANKS = "blobs/sha256/", "refs/", "channels/", "yanks/"
REFERRERS, LEASES, CONDEMNED = "referrers/sha256/", "leases/", "gc/condemned/"
TEMPLATES, COMPRESSED = "templates/", "compressed/sha256/"

_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_NAME_LENGTH = 64
_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")
#: SemVer 2.0.0, its own expression but for the length of numbers and build metadata,
#: which two versions may not differ in alone.
_VERSION = re.compile(
    r"(?P<numbers>(?:0|[1-9]\d{0,8})(?:\.(?:0|[1-9]\d{0,8})){2})"
    r"(?:-(?P<pre>(?:0|[1-9]\d{0,8}|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(?:\.(?:0|[1-9]\d{0,8}|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?",
    re.ASCII,
)
_VERSION_LENGTH = 64


@dataclass(frozen=True)
class Reference:
    """`name`, `name@version` or `name:channel`; at most one of the two is given."""

    name: str
    version: str | None = None
    channel: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name}@{self.version}"
        return f"{self.name}:{self.channel}" if self.channel is not None else self.name


def parse_reference(text: str) -> Reference:
    """Parse what a user writes for a version or channel.

    Raises:
        ConfigError: it is none of the three forms.
    """
    name, at, version = text.partition("@")
    if at:
        return Reference(check_name(name), version=check_version(version))
    name, colon, channel = text.partition(":")
    return Reference(check_name(name), channel=check_channel(channel) if colon else None)


def check_name(text: str) -> str:
    """A bundle's name, if it is one.

    Raises:
        ConfigError: it is not.
    """
    return _check_word(text, "a bundle's name")


def check_channel(text: str) -> str:
    """A channel's name, if it is one.

    Raises:
        ConfigError: it is not.
    """
    return _check_word(text, "a channel's name")


def check_version(text: str) -> str:
    """A version, if it is one.

    Raises:
        ConfigError: it is not.
    """
    if len(text) > _VERSION_LENGTH or not _VERSION.fullmatch(text):
        raise ConfigError(
            "expected a version such as 1.4.0 or 2.0.0-rc.1 (SemVer without +build), found "
            f"{text!r}"
        )
    return text


def version_order(version: str) -> tuple[object, ...]:
    """Sorts versions by SemVer's precedence: a pre-release comes before its release."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise RegistryError(f"expected a version, found {version!r}")
    numbers = tuple(int(number) for number in match["numbers"].split("."))
    if match["pre"] is None:
        return (*numbers, 1)
    parts = tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in match["pre"].split(".")
    )
    return (*numbers, 0, parts)


def template_key(key: str, file: str) -> str:
    """Key of a file of a program template.

    Args:
        key: of the template's recipe, 64 hex digits.
        file: its name; "" for the beginning of all.
    """
    return f"{TEMPLATES}{key}/{file}"


def blob_key(digest: str) -> str:
    """Key of a blob.

    Args:
        digest: `sha256:<hex>`.

    Raises:
        RegistryError: it is no such digest.
    """
    return BLOBS + hex_of(digest)


def compressed_key(digest: str) -> str:
    """Key of the compressed copy of a document."""
    return f"{COMPRESSED}{hex_of(digest)}.gz"


def is_digest(text: str) -> bool:
    """Whether it is `sha256:<hex>`."""
    return _SHA256.fullmatch(text) is not None


def hex_of(digest: str) -> str:
    """The 64 hex digits of `sha256:<hex>`.

    Raises:
        RegistryError: it is no such digest.
    """
    match = _SHA256.fullmatch(digest)
    if match is None:
        raise RegistryError(f"expected a digest sha256:<64 hex digits>, found {digest!r}")
    return match[1]


def ref_key(name: str, version: str) -> str:
    """Key of a version."""
    return f"{REFS}{name}/{version}.json"


def channel_key(name: str, channel: str) -> str:
    """Key of a channel's newest record."""
    return f"{CHANNELS}{name}/{channel}.json"


def record_key(name: str, channel: str, number: int) -> str:
    """Key of a record in a channel's history; numbers begin with 1."""
    return f"{CHANNELS}{name}/{channel}/{number:08d}.json"


def yank_key(name: str, version: str) -> str:
    """Key of the note that a version is yanked."""
    return f"{YANKS}{name}/{version}.json"


def referrers_key(digest: str) -> str:
    """Key of the list of what is attached to a manifest or index."""
    return f"{REFERRERS}{hex_of(digest)}.json"


def condemned_key(digest: str) -> str:
    """Key of the note that nothing refers to a blob."""
    return f"{CONDEMNED}{hex_of(digest)}.json"


def _check_word(text: str, what: str) -> str:
    if len(text) > _NAME_LENGTH or not _NAME.fullmatch(text):
        raise ConfigError(
            f"expected {what}: small letters, digits and single . _ - between them, at most "
            f"{_NAME_LENGTH} characters; found {text!r}"
        )
    return text
