"""Build records beside bundles."""

from dataclasses import replace
from pathlib import Path

import pytest

from ptefoundry.bundle.manifest import load_manifest
from ptefoundry.errors import ArtifactError
from ptefoundry.registry.trust.build_record import BuildRecord, GitState, Source
from ptefoundry.registry.trust.kept_record import (
    describe_bundle,
    find_record,
    keep_record,
    record_path,
)
from ptefoundry.registry.trust.provenance import make_provenance
from ptefoundry.registry.trust.version_signatures import VersionFiles
from support.packed import copy_bundle, edit_manifest, pack
from support.signed_bundle import version_files

RECORD = BuildRecord(
    version=VersionFiles(name="tiny", version="", index="", variants={}),
    base=Source(name="org/model", source="file:base", sha256="a" * 64),
    adapters=(Source(name="red", source="file:red", sha256=None),),
    params={"bundle": {"name": "tiny"}},
    toolchain={"compile": {"code": "c" * 64, "executorch": "1.5.1"}},
    dvc_lock="d" * 64,
    git=GitState(commit="e" * 40, repository="https://example.org/a.git", is_clean=False),
    environment={"GITHUB_RUN_ID": "7"},
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = copy_bundle(tmp_path / "bundle")
    edit_manifest(folder, lambda manifest: manifest["adapters"]["red"].update(digest="b" * 64))
    return folder


def test_a_record_comes_back_as_one_of_the_version_that_is_pushed(bundle: Path) -> None:
    assert find_record(bundle, version_files()) is None
    keep_record(bundle, RECORD)
    assert record_path(bundle).name == "bundle.build.json"
    found = find_record(bundle, version_files())
    fetched = describe_bundle(load_manifest(bundle), version_files())
    assert [one.sha256 for one in fetched.adapters] == [None, "b" * 64]
    expected = replace(RECORD, base=fetched.base, adapters=fetched.adapters)
    assert found == replace(expected, version=version_files())
    assert make_provenance(found)["subject"][0]["name"] == "assistant@1.4.0"


def test_the_record_of_another_bundle_is_refused(bundle: Path) -> None:
    keep_record(bundle, RECORD)
    edit_manifest(bundle, lambda manifest: manifest["base"].update(source="file:other"))
    with pytest.raises(ArtifactError, match=r"bundle\.build\.json: bundle: expected .* changed"):
        find_record(bundle, version_files())


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format_version": 2}', '{"format_version": 1, "bundle": 3}']
)
def test_a_malformed_record_is_refused(bundle: Path, text: str) -> None:
    record_path(bundle).write_text(text)
    with pytest.raises(ArtifactError, match=r"bundle\.build\.json"):
        find_record(bundle, version_files())


def test_a_bundle_says_enough_for_its_bill(bundle: Path) -> None:
    exporter = {"executorch": "1.5.1"}
    edit_manifest(
        bundle, lambda manifest: manifest["backends"]["xnnpack"].update(exporter=exporter)
    )
    described = describe_bundle(pack(bundle, version="1.0.0").packed.bundle, version_files())
    assert [one.name for one in described.adapters] == ["blue", "red"]
    assert described.adapters[1].sha256 == "b" * 64
    assert described.packages == (("executorch", "1.5.1"),)
