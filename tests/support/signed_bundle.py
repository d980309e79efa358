"""A small bundle folder as a pull leaves it, and its signatures."""

from pathlib import Path

from ptefoundry.digest import hash_bytes
from ptefoundry.registry.trust.keys import Signer
from ptefoundry.registry.trust.version_signatures import VersionFiles, sign_version

SHARED = {
    "xnnpack/foundation.ptd": b"weights" * 1000,
    "model.json": b"{}",
    "tokenizer/tokenizer.json": b"{}",
    "tokenizer-notes/a": b"sorts differently by text and by parts",
}
PROGRAMS = {"base": b"program", "nobel": b"another program"}
INDEX = "sha256:" + hash_bytes(b"index")


def contents(*adapters: str) -> dict[str, bytes]:
    """The files of some variants: path -> bytes."""
    programs = {f"xnnpack/{name}.pte": PROGRAMS[name] for name in adapters}
    return {**SHARED, **programs}


def digests(*adapters: str) -> dict[str, str]:
    """The files of some variants: path -> hex SHA-256."""
    return {path: hash_bytes(data) for path, data in contents(*adapters).items()}


def version_files(**changes: str) -> VersionFiles:
    """The version with both variants."""
    identity = {"name": "assistant", "version": "1.4.0", "index": INDEX, **changes}
    return VersionFiles(
        **identity, variants={f"xnnpack/{name}": digests(name) for name in PROGRAMS}
    )


def write_pulled(folder: Path, signer: Signer, *adapters: str) -> Path:
    """Write what a pull of some variants writes."""
    signatures = sign_version(version_files(), [signer])
    extra = {"manifest.json": b"{}", "measured.json": b"{}"}
    extra |= {f"signatures/{name}": data for name, data in signatures.items()}
    for path, data in {**contents(*adapters), **extra}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder
