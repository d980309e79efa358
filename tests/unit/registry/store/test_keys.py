"""What caches are told of objects."""

import pytest

from ptefoundry.registry import names
from ptefoundry.registry.store.keys import headers_of

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize("key", [names.blob_key(DIGEST), names.record_key("name", "stable", 7)])
def test_what_never_changes_is_kept_for_ever(key: str) -> None:
    assert headers_of(key).cache_control == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    "key",
    [
        names.LAYOUT_KEY,
        names.INDEX_KEY,
        names.CONFIG_KEY,
        names.CHANNEL_LIST_KEY,
        names.channel_key("name", "stable"),
        names.channel_key("name", "00000001"),
        names.yank_key("name", "1.0.0"),
        names.referrers_key(DIGEST),
        names.condemned_key(DIGEST),
    ],
)
def test_pointers_are_asked_for_again(key: str) -> None:
    assert headers_of(key).cache_control == "no-cache"
    assert headers_of(key).content_type == "application/json"


def test_a_version_may_be_a_little_old() -> None:
    assert headers_of(names.ref_key("name", "1.0.0")).cache_control == "public, max-age=300"


def test_blobs_are_bytes() -> None:
    assert headers_of(names.blob_key(DIGEST)).content_type == "application/octet-stream"
