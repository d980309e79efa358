import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from ptefoundry.errors import ConfigError
from ptefoundry.registry.trust.keys import (
    PASSPHRASE_VARIABLE,
    SIGNING_KEY_VARIABLE,
    find_signers,
    generate_signer,
    load_public_key,
    load_signer,
    passphrase_from_environment,
    write_key_pair,
)


@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_key_pair_is_written_and_read(tmp_path: Path, passphrase: bytes | None) -> None:
    signer = generate_signer()
    private, public = tmp_path / "keys" / "a.pem", tmp_path / "keys" / "a.pub"
    write_key_pair(signer, private, public, passphrase)
    assert private.stat().st_mode & 0o777 == 0o600
    assert (b"ENCRYPTED" in private.read_bytes()) == (passphrase is not None)
    assert sorted(path.name for path in private.parent.iterdir()) == ["a.pem", "a.pub"]
    assert load_public_key(str(public)) == signer.public
    loaded = load_signer(str(private), passphrase)
    assert loaded.public == signer.public
    assert loaded.sign(b"data") == signer.sign(b"data")
    assert load_signer(private.read_text(), passphrase).public == signer.public


def test_signature_is_of_its_data_and_key_only() -> None:
    signer, other = generate_signer(), generate_signer()
    signature = signer.sign(b"data")
    assert signer.public.holds(signature, b"data")
    assert not signer.public.holds(signature, b"date")
    assert not other.public.holds(signature, b"data")
    assert not signer.public.holds(b"", b"data")
    assert not signer.public.holds(signature + b"\0", b"data")


def test_openssl_accepts_a_signature(tmp_path: Path) -> None:
    """Any other implementation of ECDSA reads the same files."""
    signer = generate_signer()
    write_key_pair(signer, tmp_path / "a.pem", tmp_path / "a.pub", None)
    (tmp_path / "data").write_bytes(b"data")
    (tmp_path / "sig").write_bytes(signer.sign(b"data"))
    command = ["openssl", "dgst", "-sha256", "-verify", "a.pub", "-signature", "sig", "data"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "Verified OK\n", done.stderr


def test_id_is_the_digest_of_the_public_key() -> None:
    public = generate_signer().public
    assert public.id == hashlib.sha256(public.pem).hexdigest()
    assert public.pem.startswith(b"-----BEGIN PUBLIC KEY-----\n")


def test_id_does_not_depend_on_how_the_file_is_written(tmp_path: Path) -> None:
    public = generate_signer().public
    text = "comment\r\n" + public.pem.decode().replace("\n", "\r\n")
    (tmp_path / "a.pub").write_bytes(text.encode())
    assert load_public_key(str(tmp_path / "a.pub")) == public


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    private, public = tmp_path / "a.pem", tmp_path / "a.pub"
    public.write_text("mine")
    with pytest.raises(ConfigError, match=r"a\.pub: expected no file"):
        write_key_pair(generate_signer(), private, public, None)
    assert not private.exists()


def _pem(key) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_other_kinds_of_keys_are_refused(key) -> None:
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(ConfigError, match="P-256"):
        load_signer(_pem(key))
    with pytest.raises(ConfigError, match="P-256"):
        load_public_key(public.decode())


def test_private_key_is_no_public_key(tmp_path: Path) -> None:
    pem = generate_signer().to_pem().decode()
    with pytest.raises(ConfigError, match="found a private one") as caught:
        load_public_key(pem, where="trust: keys[0]")
    assert pem.splitlines()[1] not in str(caught.value)


@pytest.mark.parametrize(
    ("stored", "given"), [(b"right", None), (b"right", b"wrong"), (None, b"needless")]
)
def test_passphrase_must_fit(stored: bytes | None, given: bytes | None) -> None:
    with pytest.raises(ConfigError, match=PASSPHRASE_VARIABLE):
        load_signer(generate_signer().to_pem(stored).decode(), given)


@pytest.mark.parametrize("load", [load_signer, load_public_key])
@pytest.mark.parametrize("text", ["-----BEGIN PUBLIC KEY-----\nAAAA\n", "/nowhere/at/all"])
def test_what_is_no_key_is_refused(load, text: str) -> None:
    with pytest.raises(ConfigError, match="expected a"):
        load(text)


def test_passphrase_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    assert passphrase_from_environment() is None
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "")
    assert passphrase_from_environment() is None
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "geheim")
    assert passphrase_from_environment() == b"geheim"


def test_signers_come_from_files_or_the_environment(tmp_path: Path) -> None:
    signers = [generate_signer(), generate_signer()]
    paths = [tmp_path / "a.pem", tmp_path / "b.pem"]
    for signer, path in zip(signers, paths, strict=True):
        write_key_pair(signer, path, path.with_suffix(".pub"), b"geheim")
    environment = {PASSPHRASE_VARIABLE: "geheim"}

    def ids(files=(), setting: str | None = None) -> list[str]:
        extra = {} if setting is None else {SIGNING_KEY_VARIABLE: setting}
        return [item.public.id for item in find_signers(files, {**environment, **extra})]

    first, second = (signer.public.id for signer in signers)
    assert ids() == ids(setting="") == []
    assert ids(setting=paths[0].read_text()) == [first]
    assert ids(setting=os.pathsep.join(map(str, paths))) == [first, second]
    assert ids([paths[1]], str(paths[0])) == [second]
    with pytest.raises(ConfigError, match=SIGNING_KEY_VARIABLE):
        ids(setting=str(tmp_path / "c.pem"))
