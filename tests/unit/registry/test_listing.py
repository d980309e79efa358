"""The manifests of variants, alone and united."""

import json
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.bundle.manifest import load_manifest
from ptefoundry.digest import canonical_json
from ptefoundry.errors import RegistryError
from ptefoundry.registry.listing import merge_listings
from support.packed import BUNDLE, Documents, copy_bundle, pack, replace_file

DOCUMENTS = pack()


def _listings(documents: Documents) -> list[bytes]:
    return [
        next(blob for blob in map(documents.blob, _digests(item)) if b'"format_version"' in blob)
        for item in documents.packed.variants
    ]


def _digests(variant: Any) -> list[str]:
    return [blob.digest for blob in variant.blobs if isinstance(blob.content, bytes)]


def test_a_variant_has_its_own_files_alone() -> None:
    listing = DOCUMENTS.read_listing(DOCUMENTS.listing)
    assert [variant.adapter for variant in listing.variants] == ["blue"]
    assert list(listing.adapters) == ["blue"]
    assert "xnnpack/red.pte" not in {entry.path for entry in listing.files}
    assert "xnnpack/foundation.ptd" in {entry.path for entry in listing.files}


@pytest.mark.parametrize("order", [1, -1])
def test_all_variants_together_are_the_bundle(order: int, tmp_path: Path) -> None:
    merged = merge_listings(_listings(DOCUMENTS)[::order], where="tiny")
    (tmp_path / "manifest.json").write_bytes(merged)
    assert load_manifest(tmp_path) == load_manifest(BUNDLE)
    assert load_manifest(tmp_path).digest == load_manifest(BUNDLE).digest


def test_one_variant_twice_is_itself() -> None:
    assert merge_listings([DOCUMENTS.listing] * 2, where="tiny") == DOCUMENTS.listing


def test_variants_over_different_foundations_are_not_united(tmp_path: Path) -> None:
    bundle = copy_bundle(tmp_path / "bundle")
    replace_file(bundle, "xnnpack/foundation.ptd", b"another")
    with pytest.raises(RegistryError, match=r"tiny: xnnpack/foundation\.ptd: expected"):
        merge_listings([_listings(DOCUMENTS)[0], _listings(pack(bundle))[1]], where="tiny")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("name", "other", "name: expected 'tiny', found 'other'"),
        ("name", 3, "name: expected a text"),
        ("format_version", 2, "format_version: expected 1"),
        ("base", {"name": "other"}, "base.name"),
        ("base", {"name": 1}, "base: name: expected a text"),
        ("base", [], "base: expected an object"),
        ("adapters", {"red": {}}, "other adapters"),
        ("adapters", {"blue": {"source": None}}, "adapters: 'blue': source"),
        ("backends", {}, "backends: expected"),
        ("backends", {"xnnpack": 1}, "backends: 'xnnpack': expected an object"),
        ("files", [], "files"),
        ("files", [{"path": "../x", "size": 1, "sha256": "0" * 64}], "files: expected a relative"),
        ("files", [{"path": "x", "size": 1.0, "sha256": "0" * 64}], "files: expected a size"),
        ("files", [{"path": "x", "size": True, "sha256": "0" * 64}], "files: expected a size"),
        ("files", [{"path": ["x"], "size": 1, "sha256": "0" * 64}], "files: expected a text"),
        ("files", [{"path": "x"}], "files: expected"),
        ("variants", [], "variants: count: expected 1"),
        ("variants", [3], "variants: expected an object"),
        ("surprise", 1, "fields: expected"),
    ],
)
def test_other_listings_are_refused(key: str, value: Any, expected: str) -> None:
    listing = json.loads(DOCUMENTS.listing) | {key: value}
    with pytest.raises(RegistryError) as caught:
        DOCUMENTS.read_listing(canonical_json(listing))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("adapter", "red"),
        ("backend", "coreml"),
        ("method", "decode"),
        ("program", "model.json"),
        ("program", "xnnpack/red.pte"),
        ("data", []),
        ("data", ["model.json"]),
        ("data", ["xnnpack/foundation.ptd", "xnnpack/blue.pte"]),
        ("data", "xnnpack/foundation.ptd"),
    ],
)
def test_a_listing_of_another_variant_is_refused(key: str, value: Any) -> None:
    listing = json.loads(DOCUMENTS.listing)
    listing["variants"][0][key] = value
    with pytest.raises(RegistryError, match="listing: "):
        DOCUMENTS.read_listing(canonical_json(listing))


def test_a_listing_of_other_files_is_refused() -> None:
    listing = json.loads(DOCUMENTS.listing)
    listing["files"][0]["sha256"] = "0" * 64
    with pytest.raises(RegistryError, match="listing: files: expected"):
        DOCUMENTS.read_listing(canonical_json(listing))


def test_a_listing_in_another_spelling_is_refused() -> None:
    with pytest.raises(RegistryError, match="expected canonical JSON"):
        DOCUMENTS.read_listing(b" " + DOCUMENTS.listing)
