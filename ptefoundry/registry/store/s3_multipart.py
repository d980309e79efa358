"""Sending a large file by parts: several at a time, resumable, each part checked.

boto3's own `upload_file` cannot create under a condition, nor go on after a kill.

One thread reads the file once from front to back and computes both the file's digest
and each part's. A part is sent, from the file, with its digest, which the store compares
with what arrives: so what is stored is what was hashed, and only if all of it is what
was asked for is the upload completed. Memory does not grow with parts or files.

A store that ignores the condition of completing lets two uploads of one key overwrite
each other. That does no harm, as keys are made of the digest and both were verified.
"""

import base64
import hashlib
import os
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ptefoundry.errors import StoreError
from ptefoundry.registry.store.copying import check_digest
from ptefoundry.registry.store.interface import Advance
from ptefoundry.registry.store.keys import headers_of
from ptefoundry.registry.store.part_body import PartBody
from ptefoundry.registry.store.s3_bucket import (
    CREATE,
    REFUSED,
    UNKNOWN_HEADER,
    Bucket,
    base64_of,
)
from ptefoundry.registry.store.s3_journal import Journal, SentPart
from ptefoundry.s3 import error_code

_PART_BYTES = 32 << 20
_PARTS = 10_000
"""S3's limit."""
_MIB = 1 << 20
_STREAMS = 8
"""Parts on their way at a time."""
_ROUNDS = 3
_GONE = "NoSuchUpload"


class _AgainError(StoreError):
    """The upload was lost; another one may succeed."""


@dataclass(frozen=True)
class _Part:
    number: int
    start: int
    end: int
    sha256: bytes
    md5: bytes


class MultipartUpload:
    """The upload of one file."""

    def __init__(self, bucket: Bucket, key: str, path: Path, sha256: str, journal: Journal) -> None:
        self._bucket, self._key, self._path, self._sha256 = bucket, key, path, sha256
        self._journal = journal
        self._size = path.stat().st_size
        self._part_bytes = part_bytes(self._size)
        self._id = ""
        self._there: dict[int, SentPart] = {}

    def run(self, advance: Advance) -> None:
        """Store the file.

        Raises:
            StoreError: it has other bytes than it should, the store refuses, or what it
                has in the end is not as long. What was sent is kept for the next try
                unless the file is wrong.
        """
        counted = _CountedOnce(advance)
        for left in reversed(range(_ROUNDS)):
            try:
                self._round(counted)
                break
            except _AgainError:
                self._give_up()
                if not left:
                    raise

    def _round(self, advance: "_CountedOnce") -> None:
        with self._path.open("rb", buffering=0) as file, self._bucket.explained(self._key):
            before = _state(file)
            if not self._resume():
                self._begin()
            parts = self._send_all(file, advance)
            if _state(file) != before:
                self._give_up()
                raise StoreError(f"{self._path}: the file was changed while it was sent")
            self._complete(parts)
        self._journal.remove()
        if not self._bucket.is_there(self._key, self._size):
            raise StoreError(
                f"{self._bucket.url}{self._key}: the store confirmed the upload but has no such "
                "object; push again"
            )

    def _resume(self) -> bool:
        """Take up the remembered upload, if the store still knows it."""
        from botocore.exceptions import ClientError

        self._there = {}
        self._id, size, remembered = self._journal.load()
        if not self._id or size != self._part_bytes:
            return False
        pages = self._bucket.client.get_paginator("list_parts").paginate(**self._named())
        try:
            listed = [entry for page in pages for entry in page.get("Parts", ())]
        except ClientError as error:
            if error_code(error) in {_GONE, "404"}:
                return False
            raise
        for entry in listed:
            number, etag = entry["PartNumber"], entry["ETag"]
            part = remembered.get(number)
            if entry["Size"] != self._end(number) - self._start(number):
                continue
            if "ChecksumSHA256" in entry:
                digest = base64.b64decode(entry["ChecksumSHA256"]).hex()
                self._there[number] = SentPart(number, etag, digest)
            elif part is not None and part.etag == etag:
                self._there[number] = part
        return True

    def _begin(self) -> None:
        from botocore.exceptions import ClientError

        headers = headers_of(self._key)
        arguments: dict[str, str] = {
            **self._bucket.at(self._key),
            "ContentType": headers.content_type,
            "CacheControl": headers.cache_control,
        }
        if self._bucket.takes_sha256:
            arguments["ChecksumAlgorithm"] = "SHA256"
        try:
            answer = self._bucket.client.create_multipart_upload(**arguments)
        except ClientError as error:
            if self._is_sha256_refused(error):
                raise self._lost() from error
            raise
        self._id = answer["UploadId"]
        self._journal.begin(self._id, self._part_bytes)

    def _send_all(self, file: BinaryIO, advance: "_CountedOnce") -> list[dict[str, Any]]:
        """Send what is not there; returns all parts as completing wants them."""
        whole = hashlib.sha256()
        pool = ThreadPoolExecutor(_STREAMS, thread_name_prefix="upload")
        pending: set[Future[None]] = set()
        sent: dict[int, dict[str, Any]] = {}

        def send(part: _Part) -> None:
            sent[part.number] = self._send(file, part)
            advance(part.number, part.end - part.start)

        try:
            for number in range(1, self._count() + 1):
                part = self._hash(file, number, whole)
                there = self._there.get(number)
                if there is not None and there.sha256 == part.sha256.hex():
                    sent[number] = self._named_part(part, there.etag)
                    advance(number, part.end - part.start)
                    continue
                pending.add(pool.submit(send, part))
                if len(pending) == _STREAMS:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    _raise_failures(done)
            self._check(whole.hexdigest())
            _raise_failures(wait(pending).done)
        finally:
            pool.shutdown(cancel_futures=True)
        return [sent[number] for number in sorted(sent)]

    def _hash(self, file: BinaryIO, number: int, whole: Any) -> _Part:
        """Digests of a part, which is the next of the whole file."""
        start, end = self._start(number), self._end(number)
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        at = start
        while at < end:
            piece = os.pread(file.fileno(), min(_MIB, end - at), at)
            if not piece:
                self._give_up()
                raise StoreError(f"{self._path}: the file became shorter while it was sent")
            whole.update(piece)
            sha256.update(piece)
            if not self._bucket.takes_sha256:
                md5.update(piece)
            at += len(piece)
        return _Part(number, start, end, sha256.digest(), md5.digest())

    def _send(self, file: BinaryIO, part: _Part) -> dict[str, Any]:
        from botocore.exceptions import ClientError

        body = PartBody(file.fileno(), part.start, part.end)
        checksum = (
            {"ChecksumSHA256": base64_of(part.sha256)}
            if self._bucket.takes_sha256
            else {"ContentMD5": base64_of(part.md5)}
        )
        try:
            answer = self._bucket.client.upload_part(
                **self._named(), **checksum, PartNumber=part.number, Body=body
            )
        except ClientError as error:
            if error_code(error) == _GONE or self._is_sha256_refused(error):
                raise self._lost() from error
            raise
        self._journal.add(SentPart(part.number, answer["ETag"], part.sha256.hex()))
        return self._named_part(part, answer["ETag"])

    def _complete(self, parts: list[dict[str, Any]]) -> None:
        from botocore.exceptions import ClientError

        try:
            self._bucket.client.complete_multipart_upload(
                **self._named(),
                **CREATE,
                MultipartUpload={"Parts": parts},
                MpuObjectSize=self._size,
            )
        except ClientError as error:
            if error_code(error) not in {*REFUSED, _GONE}:
                raise
            # Somebody else stored the same, or the answer to an earlier try was lost.
            there = self._bucket.is_there(self._key, self._size)
            self._give_up()
            if not there:
                raise self._lost() from error

    def _check(self, found: str) -> None:
        try:
            check_digest(self._path, found, self._sha256)
        except StoreError:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Have the store forget the parts."""
        self._journal.clear()
        if self._id:
            abort(self._bucket, self._key, self._id)
            self._id = ""

    def _is_sha256_refused(self, error: Any) -> bool:
        """Whether the store may not know this checksum; then another is used from now on."""
        refused = self._bucket.may_not_take_sha256 and error_code(error) in UNKNOWN_HEADER
        if refused:
            self._bucket.use_md5()
        return refused

    def _lost(self) -> _AgainError:
        return _AgainError(f"{self._bucket.url}{self._key}: the upload was lost; push again")

    def _named(self) -> dict[str, str]:
        return {**self._bucket.at(self._key), "UploadId": self._id}

    def _named_part(self, part: _Part, etag: str) -> dict[str, Any]:
        named: dict[str, Any] = {"PartNumber": part.number, "ETag": etag}
        if self._bucket.takes_sha256:
            named["ChecksumSHA256"] = base64_of(part.sha256)
        return named

    def _count(self) -> int:
        return -(-self._size // self._part_bytes)

    def _start(self, number: int) -> int:
        return (number - 1) * self._part_bytes

    def _end(self, number: int) -> int:
        return min(number * self._part_bytes, self._size)


class _CountedOnce:
    """Reports parts from several threads, each once even if an upload is begun anew."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._lock = threading.Lock()
        self._numbers: set[int] = set()

    def __call__(self, number: int, size: int) -> None:
        with self._lock:
            if number not in self._numbers:
                self._numbers.add(number)
                self._advance(size)


def part_bytes(size: int) -> int:
    """Bytes of each part but the last: the same for a file of that size in every run."""
    least = -(-size // _PARTS)
    return max(_PART_BYTES, -(-least // _MIB) * _MIB)


def abort(bucket: Bucket, key: str, upload_id: str) -> None:
    """Have the store forget an upload; one that it does not know is a success."""
    from botocore.exceptions import ClientError

    with bucket.explained(key):
        try:
            bucket.client.abort_multipart_upload(**bucket.at(key), UploadId=upload_id)
        except ClientError as error:
            if error_code(error) not in {_GONE, "404"}:
                raise


def _state(file: BinaryIO) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _raise_failures(done: set[Future[None]]) -> None:
    for future in done:
        future.result()
