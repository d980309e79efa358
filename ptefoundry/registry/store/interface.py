"""What a registry needs of a place that holds objects under keys.

Keys are relative, with forward slashes. An object is either immutable (a blob, a
version, a step of a channel's history) and created once, or a pointer that is
replaced by whoever knows its present token. Nothing is ever overwritten blindly.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Advance = Callable[[int], None]
"""Called with the number of bytes moved since the last call."""
Piece = bytes | memoryview
"""Some bytes of an object that is arriving; a view's change when the next ones arrive."""


@dataclass(frozen=True)
class ObjectInfo:
    """What a store says of an object without sending it."""

    key: str
    size: int
    """Bytes."""
    modified: float
    """Seconds since 1970, by the store's clock."""
    token: str
    """Names this content of the object to `replace`; opaque, and no digest."""


class Store(Protocol):
    """Objects under keys. All methods may be called from several threads.

    Every method raises `StoreError` where the store cannot be reached or refuses.
    """

    @property
    def url(self) -> str:
        """Names the store in messages; without credentials."""

    @property
    def can_list(self) -> bool:
        """Whether `list` works."""

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object, None if there is none."""

    def read(self, key: str, *, limit: int) -> tuple[bytes, str]:
        """A small object's bytes and token.

        Args:
            key: of the object.
            limit: bytes that it may have at most.

        Raises:
            ObjectMissingError: there is none.
            ObjectTooLargeError: it has more than `limit` bytes; no more than that are kept.
        """

    def stream(self, key: str, start: int, end: int) -> AbstractContextManager[Iterator[Piece]]:
        """Pieces of the bytes from `start` to before `end`, as they arrive.

        A piece is valid until the next one is asked for, which may use its memory. Fewer
        bytes than asked for are an error, raised by the iterator.

        Raises:
            ObjectMissingError: there is no such object.
        """

    def create(self, key: str, data: bytes) -> str:
        """Store a small object under a key that has none yet; returns its token.

        A success whose answer was lost is recognised as such where the object's
        bytes are found to be `data`.

        Raises:
            ObjectExistsError: there is one with other bytes. One with the same
                bytes is a success.
        """

    def replace(self, key: str, data: bytes, token: str) -> str:
        """Replace a small object if its token is still `token`; returns the new one.

        A success whose answer was lost is recognised by the object's bytes. So where it
        has exactly `data` by now this may be a success, whoever wrote them.

        Raises:
            ObjectChangedError: it is another one by now, or gone.
        """

    def upload(self, key: str, path: Path, *, sha256: str, advance: Advance) -> None:
        """Store a file of any size under a key that is made of its digest.

        An object that is there already is a success if its size is right; the bytes of a
        small file may be sent before that is known. An upload that was interrupted goes
        on where it stopped, where the store can.

        Raises:
            StoreError: the file's bytes are not those of `sha256` by the time they are
                sent, or the object that is there has another size.
        """

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Describe all objects whose keys begin with `prefix`, ordered by key.

        Raises:
            StoreError: the store cannot list, as plain HTTP cannot.
        """

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is a success."""

    def drop_unfinished(self, older_than_s: float) -> int:
        """Remove what uploads left that began earlier and never ended; returns how many.

        Whoever is still sending one of them begins again.
        """
