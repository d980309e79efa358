"""Keys: ECDSA on P-256 with SHA-256, which Secure Enclave, Android's key store and HSMs have.

Private keys are PKCS8 PEM, public keys SubjectPublicKeyInfo PEM. A key's id is the hex
SHA-256 of its public PEM, as OpenSSF model-signing puts it into a signature's hint.
"""

import base64
import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ptefoundry.digest import hash_bytes
from ptefoundry.errors import ConfigError

PASSPHRASE_VARIABLE = "PTEFOUNDRY_KEY_PASSPHRASE"  # noqa: S105  its name
"""Environment variable with the passphrase of a private key."""
SIGNING_KEY_VARIABLE = "PTEFOUNDRY_SIGNING_KEY"
"""Environment variable with a private key in PEM, or the paths of one or more."""
_PEM = "-----BEGIN "
_KEY_LIMIT = 64 << 10
#: RFC 6979: the same bytes are signed the same way, so that pushing again adds nothing.
_ALGORITHM = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures are checked with."""

    id: str
    """Hex SHA-256 of `pem`."""
    pem: bytes
    """SubjectPublicKeyInfo as PEM."""
    _key: ec.EllipticCurvePublicKey = field(repr=False, compare=False)

    @property
    def fingerprint(self) -> str:
        """`SHA256:` and base64 of the digest of the key in DER, as pins of keys are written."""
        der = self._key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return f"SHA256:{base64.b64encode(hashlib.sha256(der).digest()).decode()}"

    def holds(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` (DER) is this key's signature of `data`."""
        try:
            self._key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Signer:
    """A private key."""

    public: PublicKey
    _key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`, DER; always the same for the same data."""
        return self._key.sign(data, _ALGORITHM)

    def to_pem(self, passphrase: bytes | None = None) -> bytes:
        """PKCS8 PEM, encrypted if there is a passphrase."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase)
            if passphrase
            else serialization.NoEncryption(),
        )


def generate_signer() -> Signer:
    """A new key."""
    return _signer(ec.generate_private_key(ec.SECP256R1()))


def passphrase_from_environment() -> bytes | None:
    """The passphrase of the private key, None if PTEFOUNDRY_KEY_PASSPHRASE is not set."""
    return os.environ.get(PASSPHRASE_VARIABLE, "").encode() or None


def write_key_pair(signer: Signer, private: Path, public: Path, passphrase: bytes | None) -> None:
    """Write a key to two new files; the private one can be read by its owner only.

    Raises:
        ConfigError: one of them is there already, or both are one; keys are never overwritten.
    """
    if private == public:
        raise ConfigError(
            f"{private}: expected another name for the private key, found that of the public one: "
            "choose one that does not end with .pub"
        )
    for path in (private, public):
        if path.exists():
            raise ConfigError(
                f"{path}: expected no file, found one; keys are never overwritten: choose another "
                "--out"
            )
    _create(private, signer.to_pem(passphrase), mode=0o600)
    _create(public, signer.public.pem, mode=0o644)


def load_signer(source: str, passphrase: bytes | None = None, *, where: str = "key") -> Signer:
    """Load a private key.

    Args:
        source: PEM, or the path of a file with it.
        passphrase: of the key, if it is encrypted.
        where: names the setting in errors; the key itself is never shown.

    Raises:
        ConfigError: it is none, or not on P-256, or the passphrase is missing or wrong.
    """
    pem, where = _read(source, where)
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except TypeError as error:
        wanted = "is encrypted" if passphrase is None else "is not encrypted, but there is one"
        raise ConfigError(
            f"{where}: expected a passphrase that fits, the key {wanted}; see {PASSPHRASE_VARIABLE}"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{where}: expected a private key in PEM, and its passphrase in {PASSPHRASE_VARIABLE} "
            "if it is encrypted; `ptefoundry keys generate` makes one"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"{where}: expected an ECDSA key on P-256; `ptefoundry keys generate`")
    return _signer(key)


def find_signers(
    files: Sequence[Path] = (), environment: Mapping[str, str] = os.environ
) -> tuple[Signer, ...]:
    """The keys to sign with: those of `files`, else those of PTEFOUNDRY_SIGNING_KEY.

    The variable has a key in PEM, as a secret of CI is, or paths with os.pathsep between
    them: while keys are rotated, both sign.

    Returns:
        None at all if neither names one.

    Raises:
        ConfigError: one is not usable.
    """
    passphrase = environment.get(PASSPHRASE_VARIABLE, "").encode() or None
    if files:
        return tuple(load_signer(str(path), passphrase) for path in files)
    setting = environment.get(SIGNING_KEY_VARIABLE, "").strip()
    sources = [setting] if is_pem(setting) else filter(None, setting.split(os.pathsep))
    return tuple(load_signer(source, passphrase, where=SIGNING_KEY_VARIABLE) for source in sources)


def load_public_key(source: str, *, where: str = "key") -> PublicKey:
    """Load a public key.

    Args:
        source: PEM, or the path of a file with it.
        where: names the setting in errors.

    Raises:
        ConfigError: it is none, or not on P-256.
    """
    pem, where = _read(source, where)
    if b"PRIVATE KEY" in pem:
        raise ConfigError(f"{where}: expected a public key, found a private one; keep it secret")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{where}: expected a public key in PEM ({error})") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"{where}: expected an ECDSA key on P-256, found another kind")
    return _public(key)


def load_either_key(source: str, passphrase: bytes | None = None, *, where: str) -> PublicKey:
    """The public key of a private or public one.

    Raises:
        ConfigError: it is neither, or not on P-256, or its passphrase does not fit.
    """
    pem, _ = _read(source, where)
    if b"PRIVATE KEY" in pem:
        return load_signer(source, passphrase, where=where).public
    return load_public_key(source, where=where)


def is_pem(text: str) -> bool:
    """Whether a setting is a key itself and not a path."""
    return text.lstrip().startswith(_PEM)


def _signer(key: ec.EllipticCurvePrivateKey) -> Signer:
    return Signer(_public(key.public_key()), key)


def _public(key: ec.EllipticCurvePublicKey) -> PublicKey:
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return PublicKey(hash_bytes(pem), pem, key)


def _read(source: str, where: str) -> tuple[bytes, str]:
    """PEM, and what errors call it."""
    if is_pem(source):
        return source.encode(), where
    try:
        with Path(source).open("rb") as file:
            return file.read(_KEY_LIMIT), f"{where}: {source}"
    except OSError as error:
        raise ConfigError(
            f"{where}: expected a key in PEM or the path of a file with one ({error})"
        ) from error


def _create(path: Path, data: bytes, *, mode: int) -> None:
    """Make a new file that never had more rights than `mode`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # A link, as a rename would replace a key that appeared meanwhile.
        os.link(name, path)
    finally:
        Path(name).unlink()
