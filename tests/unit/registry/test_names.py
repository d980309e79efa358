"""Names, versions and references as users write them."""

import random

import pytest

from ptefoundry.errors import ConfigError, RegistryError
from ptefoundry.registry.names import (
    Reference,
    blob_key,
    check_version,
    hex_of,
    parse_reference,
    version_order,
)

ORDERED = [
    *("0.0.1", "0.9.0", "1.0.0-1", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta"),
    *("1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.10.0"),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("assistant", Reference("assistant")),
        ("assistant@1.4.0", Reference("assistant", version="1.4.0")),
        ("my-model.v2:stable", Reference("my-model.v2", channel="stable")),
    ],
)
def test_references_say_version_or_channel(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    ["", "@1.0.0", ":stable", "a@", "a:", "a@1.0", "A@1.0.0", "a/b", "../a", "a..b", "-a", "a@1:b"],
)
def test_other_references_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a"):
        parse_reference(text)


@pytest.mark.parametrize(
    "text",
    ["1", "1.2", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+build", "v1.2.3", "1.2.3\n", "1.2.٣"],
)
def test_other_versions_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a version"):
        check_version(text)


def test_versions_are_ordered_as_semver_says() -> None:
    shuffled = random.Random(0).sample(ORDERED, len(ORDERED))
    assert sorted(shuffled, key=version_order) == ORDERED
    assert [check_version(version) for version in ORDERED] == ORDERED


def test_blobs_are_found_by_digest() -> None:
    assert blob_key("sha256:" + "0a" * 32) == "blobs/sha256/" + "0a" * 32


@pytest.mark.parametrize(
    "digest", ["", "0a" * 32, "sha256:0A", "sha512:" + "0a" * 32, "sha256:../x"]
)
def test_other_digests_are_refused(digest: str) -> None:
    with pytest.raises(RegistryError, match="expected a digest"):
        hex_of(digest)
