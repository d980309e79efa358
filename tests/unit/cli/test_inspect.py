import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ptefoundry.bundle.check import find_differences
from ptefoundry.bundle.inspect import (
    BundleReport,
    DataReport,
    ProgramReport,
    inspect_bundle,
    inspect_path,
)
from ptefoundry.cli.main import app
from ptefoundry.digest import hash_bytes
from ptefoundry.errors import ArtifactError, ConfigError, VerificationError

WriteFile = Callable[..., Path]


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_program_report_has_methods_and_tensors(tmp_path: Path, write_pte: WriteFile) -> None:
    path = write_pte(tmp_path / "a.pte", ("norm", "own"), {"own": b"1234"})
    report = inspect_path(path)
    assert isinstance(report, ProgramReport)
    assert [method.name for method in report.methods] == ["forward"]
    assert report.needs == ("norm",)
    assert [(one.key, one.size, one.sha256) for one in report.tensors] == [
        ("own", 4, hash_bytes(b"1234"))
    ]
    assert report.size == path.stat().st_size


def test_data_report_has_keys(tmp_path: Path, write_ptd: WriteFile) -> None:
    report = inspect_path(write_ptd(tmp_path / "a.ptd", {"x": b"12", "y": b"345"}))
    assert isinstance(report, DataReport)
    assert [(one.key, one.size) for one in report.tensors] == [("x", 2), ("y", 3)]


def test_file_is_known_by_content_not_by_name(tmp_path: Path, write_ptd: WriteFile) -> None:
    assert isinstance(inspect_path(write_ptd(tmp_path / "weights.bin", {"x": b"1"})), DataReport)


def test_variants_tell_own_and_shared_bytes(bundle: Path) -> None:
    report = inspect_bundle(bundle)
    base, red = report.variants
    foundation = (bundle / "xnnpack/foundation.ptd").stat().st_size
    assert (base.own_bytes, base.shared_bytes) == (
        (bundle / "xnnpack/base.pte").stat().st_size,
        foundation,
    )
    assert (base.own_keys, base.shared_keys) == (0, {"xnnpack/foundation.ptd": 2})
    assert (red.own_keys, red.shared_keys) == (1, {"xnnpack/foundation.ptd": 2})
    assert red.missing_keys == ()
    assert report.size == sum(entry.size for entry in report.files)


def test_missing_keys_are_named(bundle: Path, write_ptd: WriteFile) -> None:
    write_ptd(bundle / "xnnpack/foundation.ptd", {"norm": b"n" * 16})
    assert {variant.missing_keys for variant in inspect_bundle(bundle).variants} == {("embedding",)}
    assert "1 tensors are in no file" in _run("inspect", bundle)


@pytest.mark.parametrize("name", ["xnnpack/red.pte", "xnnpack/foundation.ptd", "manifest.json"])
def test_cut_files_are_refused_by_name(bundle: Path, name: str) -> None:
    path = bundle / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ArtifactError, match=name.rpartition("/")[2]):
        inspect_path(bundle)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip file, say", b"\0" * 100])
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="foreign"):
        inspect_path(path)


def test_no_file_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="found none"):
        inspect_path(tmp_path / "nothing.pte")


def test_json_is_one_document(bundle: Path) -> None:
    report = json.loads(_run("inspect", bundle, "--json"))
    assert report["kind"] == "bundle"
    assert report["variants"][1]["adapter"] == "red"
    assert json.loads(_run("inspect", bundle / "xnnpack/red.pte", "--json"))["kind"] == "program"
    data = json.loads(_run("inspect", bundle / "xnnpack/foundation.ptd", "--json"))
    assert data["kind"] == "data"


def test_text_names_every_variant(bundle: Path) -> None:
    text = _run("inspect", bundle)
    assert "xnnpack/base" in text
    assert "2 from xnnpack/foundation.ptd" in text
    assert "method forward" in _run("inspect", bundle / "xnnpack/red.pte")
    assert "embedding" in _run("inspect", bundle / "xnnpack/foundation.ptd")


def test_verify_accepts_an_untouched_bundle(bundle: Path) -> None:
    assert find_differences(bundle) == []
    assert "every file is as the manifest says" in _run("inspect", bundle, "--verify")


def test_verify_lists_all_differences(bundle: Path) -> None:
    (bundle / "xnnpack/red.pte").unlink()
    chat = bundle / "tokenizer/chat.json"
    chat.write_bytes(chat.read_bytes().replace(b"user", b"USER"))
    (bundle / "xnnpack/base.pte").write_bytes(b"short")
    (bundle / "added").write_text("")
    with pytest.raises(VerificationError) as caught:
        _run("inspect", bundle, "--verify")
    assert caught.value.exit_code == 6
    for line in (
        "4 differences",
        "xnnpack/red.pte: missing",
        "tokenizer/chat.json: expected sha256",
        "xnnpack/base.pte: expected",
        "added: not in the manifest",
    ):
        assert line in str(caught.value)


def test_verify_needs_a_bundle(bundle: Path) -> None:
    with pytest.raises(ConfigError, match="bundle's folder"):
        _run("inspect", bundle / "xnnpack/red.pte", "--verify")


def test_bundle_stays_the_same_when_moved(bundle: Path, tmp_path: Path) -> None:
    before = inspect_bundle(bundle)
    moved = inspect_bundle(Path(shutil.move(bundle, tmp_path / "moved")))
    assert isinstance(moved, BundleReport)
    assert moved.digest == before.digest
    assert moved.variants == before.variants
