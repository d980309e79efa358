"""Small JSON documents of a registry, read as what a stranger may have written."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ptefoundry.errors import (
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
    RegistryError,
)
from ptefoundry.registry.names import is_digest
from ptefoundry.registry.oci import parse_object
from ptefoundry.registry.store.interface import Store

FORMAT_VERSION = 1
DOCUMENT_LIMIT = 1 << 20
"""Bytes that a document other than a manifest or an index may have."""
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_TEXT_LIMIT = 4096
#: Control characters, other line ends, changes of direction, and halves of surrogate pairs.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_REPLACE_TRIES = 100

Clock = Callable[[], float]
"""Seconds since 1970."""


class Fields:
    """A document's fields; whoever takes one says what it must be."""

    def __init__(self, values: Mapping[str, Any], *, where: str) -> None:
        self._values = values
        self.where = where

    def value(self, key: str) -> Any:
        """Whatever is there, for who checks it elsewhere; None if it is missing."""
        return self._values.get(key)

    def text(self, key: str) -> str:
        """A text of one line.

        Raises:
            RegistryError: it is missing or something else.
        """
        value = self._values.get(key)
        if not isinstance(value, str) or len(value) > _TEXT_LIMIT or _CONTROL.search(value):
            raise self._wrong(key, "a text of one line")
        return value

    def optional_text(self, key: str) -> str | None:
        """A text of one line, None if it is missing or null."""
        return None if self._values.get(key) is None else self.text(key)

    def count(self, key: str) -> int:
        """A whole number that is not negative.

        Raises:
            RegistryError: it is missing or something else.
        """
        value = self._values.get(key)
        if type(value) is not int or value < 0:
            raise self._wrong(key, "a number")
        return value

    def digest(self, key: str) -> str:
        """A digest `sha256:<hex>`.

        Raises:
            RegistryError: it is missing or something else.
        """
        value = self._values.get(key)
        if not isinstance(value, str) or not is_digest(value):
            raise self._wrong(key, "a digest sha256:<64 hex digits>")
        return value

    def time(self, key: str) -> str:
        """A time as `format_time` writes it.

        Raises:
            RegistryError: it is missing or something else.
        """
        text = self.text(key)
        parse_time(text, where=f"{self.where}: {key}")
        return text

    def optional_digest(self, key: str) -> str | None:
        """A digest, None if it is missing or null."""
        return None if self._values.get(key) is None else self.digest(key)

    def optional_time(self, key: str) -> str | None:
        """A time, None if it is missing or null."""
        return None if self._values.get(key) is None else self.time(key)

    def same(self, key: str, expected: str) -> str:
        """A text that is known beforehand.

        Raises:
            RegistryError: it is another one.
        """
        if self._values.get(key) != expected:
            raise self._wrong(key, repr(expected))
        return expected

    def _wrong(self, key: str, expected: str) -> RegistryError:
        found = self._values.get(key)
        return RegistryError(f"{self.where}: {key}: expected {expected}, found {found!r:.80}")


def read_fields(data: bytes, *, where: str) -> Fields:
    """Read a document of this format.

    Raises:
        RegistryError: it is none, or of another format; `where` names it.
    """
    values = parse_object(data, where=where)
    # JSON's true and 1.0 equal 1 in Python, and in no other client.
    if type(values.get("format")) is not int or values["format"] != FORMAT_VERSION:
        raise RegistryError(
            f"{where}: format: expected {FORMAT_VERSION}, found {values.get('format')!r:.80}; use "
            "a newer ptefoundry"
        )
    return Fields(values, where=where)


def replace_document(
    store: Store, key: str, change: Callable[[bytes | None], bytes], *, limit: int = DOCUMENT_LIMIT
) -> None:
    """Change a document that others may change at the same time.

    Args:
        store: where it is.
        key: of the document.
        change: makes the new document of the present one, None if there is none; called
            again where somebody else was faster. Returning its argument changes nothing.
        limit: bytes that the present one may have.

    Raises:
        StoreError: it was changed by others over and over again.
    """
    for _ in range(_REPLACE_TRIES):
        try:
            data, token = store.read(key, limit=limit)
        except ObjectMissingError:
            data, token = None, ""
        changed = change(data)
        if changed == data:
            return
        try:
            if data is None:
                store.create(key, changed)
            else:
                store.replace(key, changed, token)
        except (ObjectExistsError, ObjectChangedError):
            continue
        return
    raise ObjectChangedError(
        f"{store.url}{key}: it was changed by others {_REPLACE_TRIES} times; try again later"
    )


def format_time(seconds: float) -> str:
    """RFC 3339 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_TIME)


def parse_time(text: str, *, where: str) -> float:
    """Seconds since 1970 of what `format_time` writes.

    Raises:
        RegistryError: it is something else; `where` names the field.
    """
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise RegistryError(
            f"{where}: expected a time such as 2026-11-22T08:00:00Z, found {text!r}"
        ) from error
