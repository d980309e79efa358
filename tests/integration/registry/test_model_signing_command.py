"""The stock `model_signing` command and our signatures read each other."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ptefoundry.registry.trust.keys import Signer, generate_signer, write_key_pair
from ptefoundry.registry.trust.version_signatures import sign_version
from support.signed_bundle import version_files, write_pulled


@pytest.fixture(scope="module")
def signer() -> Signer:
    return generate_signer()


@pytest.fixture
def public_key(tmp_path: Path, signer: Signer) -> Path:
    write_key_pair(signer, tmp_path / "key.pem", tmp_path / "key.pub", None)
    return tmp_path / "key.pub"


def _run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def _verify(
    folder: Path, signature: str, public_key: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """What docs/trust.md tells a stranger to run."""
    (path,) = (folder / "signatures").glob(f"{signature}.*.sig")
    return _run("verify", "key", folder, "--signature", path, "--public_key", public_key, *options)


@pytest.mark.parametrize(
    ("adapters", "signature"),
    [(("base", "nobel"), "version"), (("nobel",), "xnnpack.nobel"), (("base",), "xnnpack.base")],
)
def test_pulled_folder_is_accepted_and_refused_after_one_byte(
    tmp_path: Path, signer: Signer, public_key: Path, adapters: tuple[str, ...], signature: str
) -> None:
    folder = write_pulled(tmp_path / "pulled", signer, *adapters)
    done = _verify(folder, signature, public_key)
    assert (done.returncode, done.stdout) == (0, "Verification succeeded\n"), done.stderr

    path = folder / "xnnpack" / "foundation.ptd"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    done = _verify(folder, signature, public_key)
    assert done.returncode == 1
    assert "Hash mismatch for 'xnnpack/foundation.ptd'" in done.stderr
    assert "succeeded" not in done.stdout


def test_relative_paths_are_ignored_as_well(
    tmp_path: Path, signer: Signer, public_key: Path
) -> None:
    folder = write_pulled(tmp_path / "pulled", signer, "base", "nobel")
    (signature,) = (folder / "signatures").glob("version.*.sig")
    for cwd, path in ((tmp_path, "pulled"), (folder, ".")):
        options = ("--signature", signature.resolve(), "--public_key", public_key)
        done = _run("verify", "key", path, *options, cwd=cwd)
        assert done.returncode == 0, done.stderr


def test_several_variants_are_verified_one_by_one(
    tmp_path: Path, signer: Signer, public_key: Path
) -> None:
    folder = write_pulled(tmp_path / "pulled", signer, "base", "nobel")
    for variant in ("xnnpack.base", "xnnpack.nobel"):
        assert _verify(folder, variant, public_key).returncode == 1
        done = _verify(folder, variant, public_key, "--ignore_unsigned_files")
        assert done.returncode == 0, done.stderr
    (folder / "xnnpack" / "nobel.pte").write_bytes(b"altered")
    assert _verify(folder, "xnnpack.base", public_key, "--ignore_unsigned_files").returncode == 0
    assert _verify(folder, "xnnpack.nobel", public_key, "--ignore_unsigned_files").returncode == 1


def test_missing_and_added_files_are_refused(
    tmp_path: Path, signer: Signer, public_key: Path
) -> None:
    folder = write_pulled(tmp_path / "pulled", signer, "nobel")
    assert "Missing files" in _verify(folder, "version", public_key).stderr
    (folder / "xnnpack" / "more.pte").write_bytes(b"more")
    assert "Extra files" in _verify(folder, "xnnpack.nobel", public_key).stderr


def test_strangers_key_is_refused(tmp_path: Path, signer: Signer) -> None:
    folder = write_pulled(tmp_path / "pulled", signer, "base", "nobel")
    write_key_pair(generate_signer(), tmp_path / "b.pem", tmp_path / "b.pub", None)
    done = _verify(folder, "version", tmp_path / "b.pub")
    assert done.returncode == 1
    assert "Key mismatch" in done.stderr


def test_stock_command_signs_the_same_root(
    tmp_path: Path, signer: Signer, public_key: Path
) -> None:
    """Resources and subject are those that the command makes of the same folder."""
    folder = write_pulled(tmp_path / "assistant", signer, "base", "nobel")
    ignored = [folder / name for name in ("manifest.json", "measured.json", "signatures")]
    options = [item for path in ignored for item in ("--ignore-paths", path)]
    key = ("--private_key", public_key.with_name("key.pem"), "--signature", tmp_path / "model.sig")
    done = _run("sign", "key", folder, *key, *options)
    assert done.returncode == 0, done.stderr

    theirs = _statement((tmp_path / "model.sig").read_bytes())
    ours = _statement(
        sign_version(version_files(), [signer])[f"version.{signer.public.id[:16]}.sig"]
    )
    assert ours["subject"] == theirs["subject"]
    assert ours["predicate"]["resources"] == theirs["predicate"]["resources"]
    assert ours["predicateType"] == theirs["predicateType"]


def _statement(data: bytes):
    return json.loads(base64.b64decode(json.loads(data)["dsseEnvelope"]["payload"]))
