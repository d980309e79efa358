"""A pulled folder by itself: what is altered in it, and what nobody has signed, is found."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.digest import hash_file
from ptefoundry.errors import ArtifactError, TrustError, VerificationError
from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.names import parse_reference
from ptefoundry.registry.pull import Puller
from ptefoundry.registry.pulled_folder import CheckedFolder, check_folder
from ptefoundry.registry.resolve import resolve
from ptefoundry.registry.trust.keys import generate_signer
from ptefoundry.registry.trust.policy import TrustedKey, TrustPolicy
from ptefoundry.registry.trust.seen import SeenRecords
from support.golden_registry import GOLDEN, golden_signer
from support.layouts import NOW, read_folder
from support.packed import edit_manifest

SIGNER = golden_signer()
POLICY = TrustPolicy(keys=(TrustedKey(key=SIGNER.public),))
STRANGER = TrustPolicy(keys=(TrustedKey(key=generate_signer().public),))
RED, BLUE = "xnnpack/red.pte", "xnnpack/blue.pte"


@pytest.fixture(scope="module")
def pull(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Pulls some adapters of a version of the golden registry; all if none is named."""
    store, root = read_folder(GOLDEN), tmp_path_factory.mktemp("pulled")
    puller = Puller(store=store, cache=BlobCache(root / "cache"), policy=None, clock=lambda: NOW)

    def pulled(into: Path, version: str, *adapters: str) -> Path:
        seen = SeenRecords(root / "seen", store.url)
        reference = parse_reference(f"tiny@{version}")
        found = resolve(store, reference, policy=None, seen=seen, clock=lambda: NOW)
        entries = puller.read_version(found).variants
        chosen = [one for one in entries if not adapters or one.facts.adapter in adapters]
        return Path(shutil.copytree(puller.pull(found, chosen, into / "linked").into, into / "app"))

    return pulled


@pytest.fixture
def folder(pull: Callable[..., Path], tmp_path: Path) -> Path:
    """All of 1.0.0."""
    return pull(tmp_path, "1.0.0")


def check(folder: Path, policy: TrustPolicy | None = POLICY) -> CheckedFolder:
    return check_folder(folder, policy=policy, now=NOW)


def write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def note(folder: Path, *paths: str) -> None:
    """Let the manifest say what the files are now."""

    def change(manifest: dict[str, Any]) -> None:
        for entry in manifest["files"]:
            if entry["path"] in paths:
                path = folder / entry["path"]
                entry |= {"size": path.stat().st_size, "sha256": hash_file(path)}

    edit(folder, change)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    (folder / "manifest.json").chmod(0o644)
    edit_manifest(folder, change)


def test_a_folder_is_what_was_signed(folder: Path) -> None:
    checked = check(folder)
    assert (checked.name, checked.version) == ("tiny", "1.0.0")
    assert checked.variants == ("xnnpack/base", "xnnpack/blue", "xnnpack/red")
    assert checked.signatures == len(list((folder / "signatures").iterdir())) == 4
    listed = json.loads((folder / "manifest.json").read_bytes())["files"]
    assert (checked.files, checked.bytes) == (len(listed), sum(one["size"] for one in listed))


@pytest.mark.parametrize("adapters", [("red",), ("base", "blue")])
def test_a_part_of_a_version_is_what_was_signed(
    pull: Callable[..., Path], tmp_path: Path, adapters: tuple[str, ...]
) -> None:
    checked = check(pull(tmp_path, "1.1.0", *adapters))
    assert checked.version == "1.1.0"
    assert checked.variants == tuple(f"xnnpack/{name}" for name in adapters)


def test_without_a_policy_files_alone_are_checked(folder: Path) -> None:
    shutil.rmtree(folder / "signatures")
    checked = check(folder, None)
    assert (checked.name, checked.version, checked.signatures) == ("tiny", None, 0)
    with pytest.raises(TrustError, match="xnnpack/base: expected a signature in signatures"):
        check(folder)


def test_a_bit_that_was_flipped_is_found_in_each_file(folder: Path) -> None:
    listed = json.loads((folder / "manifest.json").read_bytes())["files"]
    for name in (entry["path"] for entry in listed):
        data = (folder / name).read_bytes()
        write(folder / name, data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(VerificationError, match=f"1 differences.*\n  {name}: expected sha256"):
            check(folder, None)
        write(folder / name, data)


def _forge_program(folder: Path) -> None:
    write(folder / RED, b"forged")
    note(folder, RED)


def _swap_programs(folder: Path) -> None:
    """Both are signed, but not under each other's name."""
    red, blue = (folder / RED).read_bytes(), (folder / BLUE).read_bytes()
    assert red != blue
    write(folder / RED, blue)
    write(folder / BLUE, red)
    note(folder, RED, BLUE)


def _add_file(folder: Path) -> None:
    path = folder / "xnnpack/more.ptd"
    path.write_bytes(b"more")
    entry = {"path": "xnnpack/more.ptd", "size": 4, "sha256": hash_file(path)}
    edit(folder, lambda manifest: manifest["files"].append(entry))


def _take_other_program(folder: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        (red,) = (one for one in manifest["variants"] if one["adapter"] == "red")
        red["program"] = BLUE

    edit(folder, change)


def _forget_variants(folder: Path) -> None:
    edit(folder, lambda manifest: manifest.update(variants=[]))


def _rename(folder: Path) -> None:
    edit(folder, lambda manifest: manifest.update(name="other"))


def _take_signature_of_another(folder: Path) -> None:
    (red,) = (folder / "signatures").glob("xnnpack.red.*")
    (blue,) = (folder / "signatures").glob("xnnpack.blue.*")
    write(red, blue.read_bytes())


def _cut_signature(folder: Path) -> None:
    (red,) = (folder / "signatures").glob("xnnpack.red.*")
    write(red, red.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (_forge_program, f"xnnpack/red: {RED}: expected [0-9a-f]{{64}}, found [0-9a-f]{{64}}"),
        (_swap_programs, f"xnnpack/blue: {BLUE}: expected"),
        (_add_file, "xnnpack/more.ptd: expected no such file"),
        (_take_other_program, f"xnnpack/base: {RED}: expected no such file"),
        (_forget_variants, "expected the variants of one version, found no variant"),
        (_rename, "expected the signature of xnnpack/base of other, found that of xnnpack/base"),
        (_take_signature_of_another, "of xnnpack/red of tiny, found that of xnnpack/blue"),
        (_cut_signature, r"xnnpack\.red\.[0-9a-f]*\.sig: "),
    ],
)
def test_what_nobody_signed_is_refused(
    folder: Path, alter: Callable[[Path], None], message: str
) -> None:
    alter(folder)
    assert check(folder, None).name
    with pytest.raises(TrustError, match=message):
        check(folder)


def test_a_stranger_s_key_is_refused(folder: Path) -> None:
    with pytest.raises(TrustError, match="trusted"):
        check(folder, STRANGER)


def test_variants_of_two_versions_are_not_one_bundle(
    folder: Path, pull: Callable[..., Path], tmp_path: Path
) -> None:
    newer = pull(tmp_path / "newer", "1.1.0", "blue")
    for path in (newer / "signatures").glob("xnnpack.blue.*"):
        write(folder / "signatures" / path.name, path.read_bytes())
    with pytest.raises(TrustError, match=r"xnnpack/base of 1\.0\.0, xnnpack/blue of 1\.1\.0"):
        check(folder)


def test_what_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="pull the bundle again"):
        check(tmp_path)
