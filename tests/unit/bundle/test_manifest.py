import json
import shutil
from pathlib import Path

import pytest

from ptefoundry.bundle.manifest import load_manifest
from ptefoundry.digest import hash_file
from ptefoundry.errors import ArtifactError

GOLDEN = Path(__file__).parents[2] / "golden" / "bundle-v1"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "bundle"))


def _edit(bundle: Path, key: str, value: object) -> None:
    path = bundle / "manifest.json"
    fields = json.loads(path.read_text())
    fields[key] = value
    path.write_text(json.dumps(fields))


def test_golden_manifest_lists_every_file_by_its_digest() -> None:
    manifest = load_manifest(GOLDEN)
    listed = {entry.path: (entry.size, entry.sha256) for entry in manifest.files}
    found = {
        path.relative_to(GOLDEN).as_posix(): (path.stat().st_size, hash_file(path))
        for path in GOLDEN.rglob("*")
        if path.is_file() and path.name not in {"manifest.json", "measured.json"}
    }
    assert listed == found


def test_variants_share_one_foundation() -> None:
    manifest = load_manifest(GOLDEN)
    assert [variant.adapter for variant in manifest.variants] == ["base", "blue", "red"]
    assert {variant.data for variant in manifest.variants} == {("xnnpack/foundation.ptd",)}
    assert manifest.variant("xnnpack", "red").program == "xnnpack/red.pte"


def test_unknown_variant_lists_the_known_ones() -> None:
    with pytest.raises(ArtifactError, match="xnnpack/base, xnnpack/blue, xnnpack/red"):
        load_manifest(GOLDEN).variant("xnnpack", "green")


def test_digest_does_not_depend_on_measurements(bundle: Path) -> None:
    before = load_manifest(bundle).digest
    (bundle / "measured.json").write_text("{}")
    assert load_manifest(bundle).digest == before
    _edit(bundle, "name", "other")
    assert load_manifest(bundle).digest != before


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("format_version", 2, "format_version: expected 1, found 2"),
        ("format_version", None, "format_version: expected 1, found None"),
        ("files", 3, "expected a bundle's manifest"),
        ("files", [{"path": "../x", "size": 1, "sha256": ""}], "expected a relative path"),
        ("files", [{"path": "/x", "size": 1, "sha256": ""}], "expected a relative path"),
        ("files", [], "expected a listed file, found 'xnnpack/base.pte'"),
        ("surprise", 1, "expected a bundle's manifest"),
    ],
)
def test_other_manifests_are_refused(bundle: Path, key: str, value: object, expected: str) -> None:
    _edit(bundle, key, value)
    with pytest.raises(ArtifactError) as caught:
        load_manifest(bundle)
    assert expected in str(caught.value)


def test_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        load_manifest(tmp_path)
