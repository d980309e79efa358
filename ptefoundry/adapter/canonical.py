"""The canonical form of an adapter: what a program computes is x@A^T@B^T, nothing else.

A canonical adapter is a folder of

- `adapter.safetensors`: for each adapted linear `<path>.lora_a` [rank, in] and
  `<path>.lora_b` [out, rank] in fp32. The rows of `lora_b` are in the base's
  (interleaved) rotary order, and the module's scale is multiplied in;
- `adapter.json`: format version, `modules` (rank by canonical path) and `source`.

Its bytes depend on the adapter's bytes and the base's shape only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.digest import hash_json
from ptefoundry.errors import AdapterError
from ptefoundry.files import versioned_json

if TYPE_CHECKING:
    import torch

FORMAT_VERSION = 1
INFO_FILE = "adapter.json"
TENSORS_FILE = "adapter.safetensors"


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

    def tensors(self) -> Iterator[tuple[str, "torch.Tensor"]]:
        """Read the fp32 tensors one at a time, by name in order.

        Raises:
            AdapterError: the file is damaged or of another adapter.
        """
        from safetensors import SafetensorError, safe_open

        path = self.folder / TENSORS_FILE
        try:
            with safe_open(path, framework="pt") as file:
                if sorted(file.keys()) != self.names():
                    raise AdapterError(f"{path}: not the tensors of {INFO_FILE}; convert again")
                for name in self.names():
                    yield name, file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise AdapterError(f"{path}: damaged ({error}); convert the adapter again") from error


def load_adapter(folder: Path) -> CanonicalAdapter:
    """Open what `convert_adapter` wrote.

    Raises:
        AdapterError: it is missing or of another format.
    """
    with versioned_json(
        folder / INFO_FILE,
        FORMAT_VERSION,
        what="a converted adapter",
        remedy="convert the adapter again",
        error=AdapterError,
    ) as info:
        return CanonicalAdapter(
            folder=folder,
            modules=dict(sorted(info["modules"].items())),
            source=dict(info["source"]),
        )
