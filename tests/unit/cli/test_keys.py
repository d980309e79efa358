import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ptefoundry.cli.main import app
from ptefoundry.errors import ConfigError
from ptefoundry.registry.trust.keys import PASSPHRASE_VARIABLE, load_public_key, load_signer


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)


def _run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_generated_pair_is_shown_alike() -> None:
    text = _run("keys", "generate", "--out", "keys/release.pem")
    public = load_public_key("keys/release.pub")
    assert load_signer("keys/release.pem").public == public
    assert f"key {public.id}\n" in text
    assert "    - key: keys/release.pub\n" in text
    shown = json.loads(_run("keys", "show", "keys/release.pem", "keys/release.pub", "--json"))
    assert [item["id"] for item in shown] == [public.id, public.id]
    assert shown[0]["fingerprint"] == shown[1]["fingerprint"] == public.fingerprint
    assert public.fingerprint in _run("keys", "show", "keys/release.pub")


def test_fingerprint_is_that_of_openssl() -> None:
    _run("keys", "generate")
    (shown,) = json.loads(_run("keys", "show", "signing-key.pub", "--json"))
    command = (
        "openssl pkey -pubin -in signing-key.pub -outform DER | openssl dgst -sha256 -binary | "
        "openssl base64"
    )
    found = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert shown["fingerprint"] == f"SHA256:{found.stdout.strip()}"


def test_private_key_is_encrypted_by_the_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "geheim")
    shown = json.loads(_run("keys", "generate", "--json"))
    assert b"ENCRYPTED" in Path("signing-key.pem").read_bytes()
    assert json.loads(_run("keys", "show", "signing-key.pem", "--json"))[0]["id"] == shown["id"]
    monkeypatch.delenv(PASSPHRASE_VARIABLE)
    with pytest.raises(ConfigError, match=PASSPHRASE_VARIABLE):
        _run("keys", "show", "signing-key.pem")


def test_keys_are_never_overwritten() -> None:
    _run("keys", "generate")
    before = Path("signing-key.pem").read_bytes()
    with pytest.raises(ConfigError, match="never overwritten"):
        _run("keys", "generate")
    assert Path("signing-key.pem").read_bytes() == before


def test_private_key_needs_a_name_of_its_own() -> None:
    with pytest.raises(ConfigError, match=r"a\.pub: expected another name"):
        _run("keys", "generate", "--out", "a.pub")
    assert not Path("a.pub").exists()
