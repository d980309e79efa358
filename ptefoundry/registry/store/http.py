"""A store behind a web server, which needs to know nothing but GET and HEAD of files.

For those who only read: no credentials, no listing, no writing. What a server may do
wrong is noticed: ranges that it ignores, bodies that it encodes or cuts off, a redirect
to where the connection is not protected.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING

from ptefoundry.errors import ObjectMissingError, ObjectTooLargeError, StoreError
from ptefoundry.registry.store.interface import ObjectInfo, Piece
from ptefoundry.registry.store.keys import check_key
from ptefoundry.registry.store.readonly import ReadOnly
from ptefoundry.registry.store.remembered import Remembered
from ptefoundry.registry.store.resuming import BrokenStreamError, Connection, resumed, retried

if TYPE_CHECKING:
    import httpx2

_CONNECTIONS = 32
_PAUSE_S = 60.0
"""The longest one between two pieces of an answer."""
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
#: Buckets that do not let strangers list answer 403 for what is not there.
_MISSING = frozenset({403, 404, 410})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


class HttpStore(ReadOnly):
    """Objects below a URL, to read; see `Store` for the methods."""

    def __init__(self, url: str) -> None:
        """Nothing is asked of the server yet.

        Args:
            url: that keys are appended to; ends in a slash.
        """
        import httpx2

        self.url, self.can_list = url, False
        self._remembered = Remembered()
        self._client = httpx2.Client(
            follow_redirects=True,
            timeout=httpx2.Timeout(_PAUSE_S),
            limits=httpx2.Limits(
                max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS
            ),
        )

    def head(self, key: str) -> ObjectInfo | None:
        """See `Store`; `modified` is 0 where the server does not say it."""

        def attempt() -> ObjectInfo:
            with self._answer(key, "HEAD", {}) as response:
                size = _length(response)
                if size is None:
                    raise StoreError(f"{self.url}{key}: the server does not say how long it is")
                return ObjectInfo(key, size, _modified(response), _etag(response))

        try:
            return retried(attempt)
        except ObjectMissingError:
            return None

    def read(self, key: str, *, limit: int) -> tuple[bytes, str]:
        """See `Store`; what has been read before is asked for on condition that it changed."""
        return retried(lambda: self._read(key, limit))

    def stream(self, key: str, start: int, end: int) -> AbstractContextManager[Iterator[Piece]]:
        """See `Store`."""

        @contextmanager
        def connect(position: int, version: str) -> Iterator[Connection]:
            headers = {"Range": f"bytes={position}-{end - 1}"}
            if version:
                headers["If-Range"] = version
            with self._answer(key, "GET", headers) as response:
                self._check_range(key, response, position)
                etag = _etag(response)
                if version and etag != version:
                    raise StoreError(f"{self.url}{key}: the object changed while it was read")
                pieces = response.iter_raw()
                if response.status_code == HTTPStatus.OK:
                    pieces = _first(pieces, end)
                yield Connection("" if etag.startswith("W/") else etag, pieces)

        if start >= end:
            return self._nothing(key)
        return resumed(connect, start, end, label=self.url + key)

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._client.close()

    def _read(self, key: str, limit: int) -> tuple[bytes, str]:
        known = self._remembered.get(key)
        headers = {"If-None-Match": known[1]} if known else {}
        with self._answer(key, "GET", headers) as response:
            if known and response.status_code == HTTPStatus.NOT_MODIFIED:
                data, token = known
            else:
                data, token = self._body(key, response, limit), _etag(response)
        if len(data) > limit:
            raise ObjectTooLargeError(
                f"{self.url}{key}: expected at most {limit} bytes, found more"
            )
        self._remembered.put(key, data, token)
        return data, token

    def _body(self, key: str, response: "httpx2.Response", limit: int) -> bytes:
        """The whole body, or its beginning if that is more than `limit` bytes."""
        length, data = _length(response), bytearray()
        for piece in response.iter_raw():
            data += piece
            if len(data) > limit:
                return bytes(data)
        if length is not None and len(data) != length:
            raise BrokenStreamError(
                f"{self.url}{key}: expected {length} bytes, received {len(data)}"
            )
        return bytes(data)

    @contextmanager
    def _answer(
        self, key: str, method: str, headers: Mapping[str, str]
    ) -> Iterator["httpx2.Response"]:
        """An answer that is a success, its body not yet read."""
        import httpx2

        label = self.url + check_key(key)
        # A compressed body's length and ranges would not be those of the object.
        headers = {"Accept-Encoding": "identity", **headers}
        try:
            with self._client.stream(method, label, headers=headers) as response:
                _check_redirects(label, response)
                _check_status(label, response)
                _check_encoding(label, response)
                yield response
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.TooManyRedirects) as error:
            raise StoreError(f"{label}: expected an object, found {error}") from error
        except httpx2.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise StoreError(
                    f"{label}: the server's certificate is not trusted ({error}); if your network "
                    "has its own authority, set SSL_CERT_FILE to its certificates"
                ) from error
            raise BrokenStreamError(
                f"{label}: the connection failed ({str(error) or type(error).__name__}); check "
                "the network and HTTPS_PROXY"
            ) from error

    def _check_range(self, key: str, response: "httpx2.Response", position: int) -> None:
        """Refuse an answer that does not begin at `position`."""
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            begins = int(found[1]) if found else None
        else:
            begins = 0
        if begins != position:
            raise StoreError(
                f"{self.url}{key}: asked for the bytes from {position} on, the server sent others; "
                "either it ignores ranges, which a registry's server must not, or the object "
                "changed while it was read"
            )

    @contextmanager
    def _nothing(self, key: str) -> Iterator[Iterator[Piece]]:
        if self.head(key) is None:
            raise ObjectMissingError(f"{self.url}{key}: there is no such object")
        yield iter(())


def _check_redirects(label: str, response: "httpx2.Response") -> None:
    steps = [step.url.scheme for step in (*response.history, response)]
    if ("https", "http") in pairwise(steps):
        raise StoreError(
            f"{label}: the server redirects from https to http, where anybody on the way could "
            "answer; use an address that stays on https"
        )


def _check_status(label: str, response: "httpx2.Response") -> None:
    status = response.status_code
    if status in _BUSY:
        seconds = response.headers.get("Retry-After", "")
        raise BrokenStreamError(
            f"{label}: the server answered {status}; try again later",
            wait_s=float(seconds) if re.fullmatch(r"\d{1,6}", seconds, re.ASCII) else 0.0,
        )
    if status in _MISSING:
        raise ObjectMissingError(f"{label}: there is no such object (the server answered {status})")
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise StoreError(f"{label}: the object is shorter than expected")
    if not response.is_success and status != HTTPStatus.NOT_MODIFIED:
        raise StoreError(
            f"{label}: expected an object, the server answered {status}; check the address"
        )


def _check_encoding(label: str, response: "httpx2.Response") -> None:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise StoreError(
            f"{label}: asked for the object as it is, the server sent it encoded ({encoding}); "
            "switch that off for the registry"
        )


def _first(pieces: Iterator[bytes], end: int) -> Iterator[bytes]:
    """The first `end` bytes of a whole object, sent by a server that ignores ranges."""
    for piece in pieces:
        yield piece[:end]
        end -= len(piece)
        if end <= 0:
            return


def _length(response: "httpx2.Response") -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else None


def _modified(response: "httpx2.Response") -> float:
    try:
        return parsedate_to_datetime(response.headers.get("Last-Modified", "")).timestamp()
    except ValueError:
        return 0.0


def _etag(response: "httpx2.Response") -> str:
    return str(response.headers.get("ETag", ""))
