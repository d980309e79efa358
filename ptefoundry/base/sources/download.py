"""Downloading one file over HTTP into a `Partial`, going on where it stopped.

A continued download is guarded by `If-Range`: a server whose file has changed
sends the new one whole. Where the caller knows what the URL's content is (a
digest), that takes the ETag's place, and checking the digest is the caller's.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import pairwise

import httpx2

from ptefoundry.base.sources.partial import Partial
from ptefoundry.base.sources.retry import TransientError, with_retries
from ptefoundry.errors import SourceError
from ptefoundry.report import progress

TIMEOUT = httpx2.Timeout(30.0, read=60.0)
"""Seconds; `read` is the longest pause between two pieces of a body."""
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

CheckStatus = Callable[[httpx2.Response], None]
"""Raises for an error status; the response's body has not been read."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file to download, and what to download it with."""

    url: str
    """Redirects are followed if `client` does."""
    partial: Partial
    """What has arrived so far; it stays after a failure."""
    label: str
    """Names the file in messages and progress."""
    client: httpx2.Client
    """Its proxy and TLS settings are used."""
    check: CheckStatus
    """Turns an error status into an exception."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent in addition, for instance to authorize."""
    version: str | None = None
    """Names the URL's content if it is known never to change; None to rely on ETags."""

    def run(self) -> None:
        """Complete `partial` with the content of `url`.

        Raises:
            SourceError: the file cannot be had, or not whole; also whatever `check` raises.
        """
        with_retries(self._try, position=lambda: self.partial.size)

    def _try(self) -> None:
        try:
            self._request()
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.TooManyRedirects) as error:
            raise SourceError(f"{self.label}: expected a download, found {error}") from error
        except httpx2.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise SourceError(
                    f"{self.label}: the server's certificate is not trusted ({error}); if your "
                    "network has its own authority, set SSL_CERT_FILE to its certificates"
                ) from error
            raise TransientError(
                f"{self.label}: the connection failed ({str(error) or type(error).__name__}); "
                "check the network and HTTPS_PROXY, then run again: what has arrived is kept"
            ) from error

    def _request(self) -> None:
        offset, known = self.partial.resume_point()
        if self.version is not None and known != self.version:
            offset = 0
        headers = {**self.headers, **self._range_headers(offset, known)}
        with self.client.stream("GET", self.url, headers=headers, timeout=TIMEOUT) as response:
            self._check_redirects(response)
            self._check_busy(response)
            self.check(response)
            self._check_encoding(response)
            if response.status_code == HTTPStatus.PARTIAL_CONTENT:
                self._check_unchanged(response, known)
                self._receive(response, offset, self._total_of_range(response, offset))
            else:
                total = self._total_of_whole(response)
                self.partial.restart(self.version or _strong_etag(response))
                self._receive(response, 0, total)

    def _range_headers(self, offset: int, known: str) -> dict[str, str]:
        # A compressed body's length and ranges would not be those of the file.
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if self.version is None:
                headers["If-Range"] = known
        return headers

    def _receive(self, response: httpx2.Response, offset: int, total: int | None) -> None:
        """Write the body; on return `partial` is as long as the server says the file is."""
        with progress(self.label, total) as advance:
            advance(offset)
            self.partial.append(response.iter_raw(), offset=offset, advance=advance)
        if total is not None and self.partial.size != total:
            raise TransientError(
                f"{self.label}: expected {total} bytes, received {self.partial.size}"
            )

    def _check_redirects(self, response: httpx2.Response) -> None:
        """Refuse to be sent from a protected connection to an open one."""
        for before, after in pairwise([*response.history, response]):
            if before.url.scheme == "https" and after.url.scheme != "https":
                raise SourceError(
                    f"{self.label}: {before.url.host} redirects from https to "
                    f"{after.url.scheme}, where anybody on the way could replace the file; name a "
                    "source that stays on https"
                )

    def _check_busy(self, response: httpx2.Response) -> None:
        status = response.status_code
        if status in _BUSY:
            seconds = response.headers.get("Retry-After", "")
            raise TransientError(
                f"{self.label}: the server answered {status}; try again later",
                wait_s=float(seconds) if seconds.isdigit() else 0.0,
            )
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise self._changed()

    def _check_encoding(self, response: httpx2.Response) -> None:
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise SourceError(
                f"{self.label}: asked for the file as it is, the server sent it encoded "
                f"({encoding}); take it from another server"
            )

    def _check_unchanged(self, response: httpx2.Response, known: str) -> None:
        """Notice servers that send a part of another version in spite of `If-Range`."""
        if self.version is None and _strong_etag(response) not in {"", known}:
            raise self._changed()

    def _changed(self) -> TransientError:
        self.partial.discard()
        return TransientError(f"{self.label}: the server's file changed during the download")

    def _total_of_range(self, response: httpx2.Response, offset: int) -> int | None:
        text = response.headers.get("Content-Range", "none")
        found = _CONTENT_RANGE.fullmatch(text)
        if not found or int(found[1]) != offset:
            raise SourceError(
                f"{self.label}: asked the server for the bytes from {offset} on, it sent the "
                f"range {text!r}; take the file from another server"
            )
        return None if found[3] == "*" else int(found[3])

    def _total_of_whole(self, response: httpx2.Response) -> int | None:
        length = response.headers.get("Content-Length", "")
        if length.isdigit():
            return int(length)
        if "chunked" in response.headers.get("Transfer-Encoding", ""):
            return None
        raise SourceError(
            f"{self.label}: the server does not say how long the file is, so a cut-off download "
            "would not be noticed; take it from a server that sends Content-Length"
        )


def _strong_etag(response: httpx2.Response) -> str:
    """The ETag, or "" without one that promises equal bytes: then nothing is continued."""
    etag = str(response.headers.get("ETag", ""))
    return "" if etag.startswith("W/") else etag
