"""The canonical form of an adapter: what a program computes is x@A^T@B^T, nothing else.

A canonical adapter is a folder of

- `adapter.safetensors`: for each adapted linear `<path>.lora_a` [rank, in] and
  `<path>.lora_b` [out, rank] in fp32. The rows of `lora_b` are in the base's
  (interleaved) rotary order, and the module's scale is multiplied in;
- `adapter.sha256`: the hex digest of that file. Whoever reads the matrices compares it,
  so that no damage goes on into a program; whoever writes both files can write any;
- `adapter.json`: format version, `modules` (rank by canonical path) and `source`. It has no
  digest, so that for an adapter that was trained again the signatures stay as they are.

Its bytes depend on the adapter's bytes and the base's shape only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.digest import hash_bytes, hash_file, hash_json
from ptefoundry.errors import AdapterError
from ptefoundry.files import versioned_json, write_bytes, write_json

if TYPE_CHECKING:
    import torch

FORMAT_VERSION = 2
INFO_FILE = "adapter.json"
TENSORS_FILE = "adapter.safetensors"
DIGEST_FILE = "adapter.sha256"

_REMEDY = "convert the adapter again"


@dataclass(frozen=True, kw_only=True)
class CanonicalAdapter:
    """A converted adapter; its tensors stay in their file."""

    folder: Path
    modules: dict[str, int]
    """Rank by canonical path of the linear, sorted by path."""
    source: dict[str, Any]
    """What the adapter said of its origin."""

    @property
    def signature(self) -> str:
        """Digest of paths and ranks: adapters of one signature can share a program."""
        return hash_json(self.modules)

    def names(self) -> list[str]:
        """Names of the tensors, sorted."""
        return sorted(f"{path}.lora_{matrix}" for path in self.modules for matrix in "ab")

    def checked_file(self) -> Path:
        """The file with the tensors, after comparing its digest.

        Raises:
            AdapterError: it is missing, or not the one that was converted.
        """
        path = self.folder / TENSORS_FILE
        try:
            expected = (self.folder / DIGEST_FILE).read_text(encoding="utf-8").strip()
            found = hash_file(path)
        except (OSError, UnicodeDecodeError) as error:
            raise AdapterError(
                f"{self.folder}: expected the matrices of an adapter in {TENSORS_FILE} and their "
                f"digest in {DIGEST_FILE}, found no such files ({error}); {_REMEDY}"
            ) from error
        if found != expected:
            raise AdapterError(
                f"{path}: sha256: expected {expected:.80} as in {DIGEST_FILE}, found {found}; the "
                f"file is altered or cut, {_REMEDY}"
            )
        return path

    def tensors(self) -> Iterator[tuple[str, "torch.Tensor"]]:
        """Read the fp32 tensors one at a time, by name in order.

        Raises:
            AdapterError: the file is damaged or of another adapter.
        """
        from safetensors import SafetensorError, safe_open

        path = self.checked_file()
        try:
            with safe_open(path, framework="pt") as file:
                if sorted(file.keys()) != self.names():
                    raise AdapterError(f"{path}: not the tensors of {INFO_FILE}; {_REMEDY}")
                for name in self.names():
                    yield name, file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise AdapterError(f"{path}: damaged ({error}); {_REMEDY}") from error


def save_adapter(
    into: Path, data: bytes, *, modules: Mapping[str, int], source: Mapping[str, Any]
) -> None:
    """Write a canonical adapter, in place of one that is there.

    Args:
        into: the folder.
        data: the safetensors file of the matrices.
        modules: rank by canonical path of the linear.
        source: what the adapter said of its origin.
    """
    info = {
        "format_version": FORMAT_VERSION,
        "modules": dict(modules),
        "source": dict(source),
    }
    # Without adapter.json nothing is an adapter: a killed conversion leaves no mixture behind.
    (into / INFO_FILE).unlink(missing_ok=True)
    write_bytes(into / TENSORS_FILE, data)
    write_bytes(into / DIGEST_FILE, f"{hash_bytes(data)}\n".encode())
    write_json(into / INFO_FILE, info)


def load_adapter(folder: Path) -> CanonicalAdapter:
    """Open what `save_adapter` wrote; the tensors are looked at when they are read.

    Raises:
        AdapterError: it is missing or of another format.
    """
    with versioned_json(
        folder / INFO_FILE,
        FORMAT_VERSION,
        what="a converted adapter",
        remedy=_REMEDY,
        error=AdapterError,
    ) as info:
        return CanonicalAdapter(
            folder=folder,
            modules=dict(sorted(info["modules"].items())),
            source=dict(info["source"]),
        )
