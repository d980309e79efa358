"""The golden registry stays readable, and is what is written today."""

from pathlib import Path

import pytest

from ptefoundry.bundle.manifest import load_manifest
from ptefoundry.digest import hash_bytes
from ptefoundry.errors import TrustError
from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.catalog import read_catalog
from ptefoundry.registry.channel_list import find_channels
from ptefoundry.registry.channels import Channel, list_channels
from ptefoundry.registry.content import read_blob
from ptefoundry.registry.fsck import check_registry
from ptefoundry.registry.listing import merge_listings, read_listing
from ptefoundry.registry.names import CHANNEL_LIST_KEY, parse_reference
from ptefoundry.registry.overview import list_versions
from ptefoundry.registry.pull import Puller
from ptefoundry.registry.refs import list_refs
from ptefoundry.registry.resolve import Resolved, resolve
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.trust.keys import load_public_key
from ptefoundry.registry.trust.policy import TrustedKey, TrustPolicy
from ptefoundry.registry.trust.seen import SeenRecords
from ptefoundry.registry.version import read_variant, read_version
from support.golden_registry import (
    BEGIN,
    DAY,
    GOLDEN,
    PUBLIC_KEY,
    REASON,
    golden_signer,
    make_registry,
)
from support.layouts import read_folder
from support.packed import BUNDLE

POLICY = TrustPolicy(keys=(TrustedKey(key=load_public_key(str(PUBLIC_KEY))),))
PROGRAMS = {"base": 23456, "blue": 67712, "red": 67712}


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    return read_folder(GOLDEN)


def _resolve(store: MemoryStore, text: str, folder: Path, *, day: float) -> Resolved:
    seen = SeenRecords(folder=folder, registry="golden")
    reference = parse_reference(text)
    return resolve(store, reference, policy=POLICY, seen=seen, clock=lambda: BEGIN + day * DAY)


def _pull(store: MemoryStore, found: Resolved) -> dict[str, dict[str, bytes]]:
    """All files of all variants: adapter -> path -> bytes, verified."""
    version = read_version(
        read_blob(store, found.index), name=found.name, version=found.version, where="index"
    )
    pulled = {}
    for entry in version.variants:
        data = read_blob(store, entry.descriptor)
        content = read_variant(data, expected=entry.facts, where="manifest")
        read_blob(store, content.config)
        files = {layer.path: read_blob(store, layer.descriptor) for layer in content.layers}
        listing = read_listing(
            files["manifest.json"], name=found.name, content=content, where="listing"
        )
        assert {file.path for file in listing.files} == files.keys() - {"manifest.json"}
        pulled[entry.facts.adapter] = files
    return pulled


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_versions_are_read_to_the_last_file(
    store: MemoryStore, version: str, tmp_path: Path
) -> None:
    pulled = _pull(store, _resolve(store, f"tiny@{version}", tmp_path, day=5))
    sizes = {adapter: len(files[f"xnnpack/{adapter}.pte"]) for adapter, files in pulled.items()}
    assert sizes == PROGRAMS
    same = pulled["red"]["xnnpack/red.pte"] == pulled["blue"]["xnnpack/blue.pte"]
    assert same == (version == "1.1.0")
    listings = [files["manifest.json"] for files in pulled.values()]
    (tmp_path / "manifest.json").write_bytes(merge_listings(listings, where="golden"))
    assert [item.adapter for item in load_manifest(tmp_path).variants] == ["base", "blue", "red"]


def test_a_pull_verifies_signatures_and_gives_the_bundle(
    store: MemoryStore, tmp_path: Path
) -> None:
    found = _resolve(store, "tiny:stable", tmp_path, day=5)
    cache, into = BlobCache(tmp_path / "cache"), tmp_path / "into"
    puller = Puller(store=store, cache=cache, policy=POLICY, clock=lambda: BEGIN + 5 * DAY)
    pulled = puller.pull(found, puller.read_version(found).variants, into)
    names = {path.name for path in into.iterdir()}
    assert names == {"manifest.json", "model.json", "signatures", "tokenizer", "xnnpack"}
    assert len(pulled.signatures) == 4
    assert load_manifest(into).variants == load_manifest(BUNDLE).variants


def test_the_channel_was_rolled_back(store: MemoryStore, tmp_path: Path) -> None:
    found = _resolve(store, "tiny:stable", tmp_path, day=5)
    assert (found.version, found.yanked) == ("1.0.0", None)
    history = Channel(store, "tiny", "stable", policy=POLICY).history()
    steps = [(item.record.action, item.record.version) for item in history]
    assert steps == [("rollback", "1.0.0"), ("promote", "1.1.0"), ("push", "1.0.0")]


def test_the_yanked_version_says_why(store: MemoryStore, tmp_path: Path) -> None:
    yanked = _resolve(store, "tiny@1.1.0", tmp_path, day=5).yanked
    assert yanked is not None
    assert yanked.reason == REASON


def test_the_other_channel_has_expired(store: MemoryStore, tmp_path: Path) -> None:
    assert _resolve(store, "tiny:beta", tmp_path, day=1.9).version == "1.1.0"
    with pytest.raises(TrustError, match=r"expired on 2025-10-11"):
        _resolve(store, "tiny:beta", tmp_path, day=2.1)


def test_all_is_listed(store: MemoryStore) -> None:
    assert [str(ref) for ref in list_refs(store)] == ["tiny@1.0.0", "tiny@1.1.0"]
    assert [str(name) for name, _ in read_catalog(store)] == ["tiny@1.0.0", "tiny@1.1.0"]
    assert [str(channel) for channel in list_channels(store)] == ["tiny:beta", "tiny:stable"]


def test_its_channels_are_read_where_nobody_can_list(store: MemoryStore) -> None:
    found = list_channels(store)
    cannot_list = read_folder(GOLDEN)
    cannot_list.can_list = False
    assert find_channels(cannot_list) == found
    rows = list_versions(cannot_list, None, policy=None)
    assert [row.channels for row in rows] == [("stable",), ("beta",)]


def test_one_of_before_channels_were_listed_stays_readable(tmp_path: Path) -> None:
    old = read_folder(GOLDEN)
    old.delete(CHANNEL_LIST_KEY)
    assert _resolve(old, "tiny:stable", tmp_path, day=5).version == "1.0.0"
    (finding,) = check_registry(old).findings
    assert (finding.key, finding.harmless) == (CHANNEL_LIST_KEY, True)
    old.can_list = False
    assert find_channels(old) is None
    rows = list_versions(old, None, policy=None)
    assert [row.to_dict()["channels"] for row in rows] == [None, None]
    old.can_list = True
    assert check_registry(old, repair=True).is_sound
    assert old.read(CHANNEL_LIST_KEY, limit=1 << 20)[0] == (GOLDEN / CHANNEL_LIST_KEY).read_bytes()


def test_every_blob_is_what_its_key_says(store: MemoryStore) -> None:
    keys = [info.key for info in store.list("blobs/")]
    assert len(keys) > 20
    for key in keys:
        assert key == f"blobs/sha256/{hash_bytes(store.read(key, limit=1 << 20)[0])}"


def test_it_is_what_is_written_today(store: MemoryStore) -> None:
    """See tests/support/golden_registry.py for what to do where it is not."""
    made, limit = make_registry(), 1 << 20
    keys = sorted(info.key for info in store.list(""))
    assert sorted(info.key for info in made.list("")) == keys
    found = {key: store.read(key, limit=limit)[0] for key in keys}
    assert [key for key in keys if made.read(key, limit=limit)[0] != found[key]] == []
    assert golden_signer().public.pem == PUBLIC_KEY.read_bytes()
