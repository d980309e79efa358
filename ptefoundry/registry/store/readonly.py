"""What a store that can only be read answers to whoever wants more."""

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from ptefoundry.errors import StoreError
from ptefoundry.registry.store.interface import Advance, ObjectInfo


class ReadOnly:
    """The writing and listing half of `Store`: each method raises StoreError."""

    url: str

    def create(self, key: str, data: bytes) -> str:  # noqa: ARG002
        """Refuses."""
        self._refuse(key)

    def replace(self, key: str, data: bytes, token: str) -> str:  # noqa: ARG002
        """Refuses."""
        self._refuse(key)

    def upload(self, key: str, path: Path, *, sha256: str, advance: Advance) -> None:  # noqa: ARG002
        """Refuses."""
        self._refuse(key)

    def delete(self, key: str) -> None:
        """Refuses."""
        self._refuse(key)

    def drop_unfinished(self, older_than_s: float) -> int:  # noqa: ARG002
        """Refuses."""
        self._refuse("")

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Refuses."""
        raise StoreError(
            f"{self.url}{prefix}: a web server does not say what it holds; use the registry's "
            "s3:// or file: address for that"
        )

    def _refuse(self, key: str) -> NoReturn:
        raise StoreError(
            f"{self.url}{key}: over http a registry can only be read; use its s3:// or file: "
            "address to write"
        )
