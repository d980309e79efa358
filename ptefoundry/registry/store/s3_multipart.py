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
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, BinaryIO

from ptefoundry.errors import StoreError
from ptefoundry.registry.store.copying import WrongBytesError, check_digest
from ptefoundry.registry.store.file_parts import FilePart, FileParts
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
from ptefoundry.registry.store.s3_journal import Journal, SentPart, Upload
from ptefoundry.s3 import error_code

STREAMS = 8
"""Parts on their way at a time."""
_ROUNDS = 3
_NONE = Upload("", 0, uses_sha256=False)
_GONE = frozenset({"NoSuchUpload", "404"})


class _LostUploadError(StoreError):
    """The store does not know the upload any more; another one may succeed."""


class MultipartUpload:
    """The upload of one file; several may share a bucket."""

    def __init__(self, bucket: Bucket, key: str, path: Path, sha256: str, journal: Journal) -> None:
        self._bucket, self._key, self._path, self._sha256 = bucket, key, path, sha256
        self._label = bucket.url + key
        self._journal = journal
        self._upload = _NONE

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
                with self._path.open("rb", buffering=0) as file:
                    self._send_file(file, counted)
                return
            except WrongBytesError:
                self._give_up()
                raise
            except _LostUploadError:
                self._give_up()
                if not left:
                    raise

    def _send_file(self, file: BinaryIO, advance: "_CountedOnce") -> None:
        source = FileParts(self._path, file)
        with self._bucket.explained(self._key):
            there = self._resume(source)
            if self._upload is _NONE:
                self._begin(source)
            sent = self._send_parts(file, source, there, advance)
            check_digest(self._path, source.whole_sha256(), self._sha256)
            # A part is read again to be sent, after it was hashed.
            source.check_unchanged()
            self._complete(source, sent)
        if not self._bucket.is_there(self._key, source.size):
            raise StoreError(
                f"{self._label}: the store confirmed the upload but has no such object; push again"
            )
        self._journal.remove()

    def _resume(self, source: FileParts) -> dict[int, SentPart]:
        """Take up the remembered upload, if the store still knows it; returns its parts."""
        from botocore.exceptions import ClientError

        upload, remembered = self._journal.load()
        if upload is None:
            return {}
        self._upload = upload
        pages = self._bucket.client.get_paginator("list_parts").paginate(**self._named())
        try:
            listed = [entry for page in pages for entry in page.get("Parts", ())]
        except ClientError as error:
            if error_code(error) not in _GONE:
                raise
            self._upload = _NONE
            return {}
        if upload.part_bytes != source.part_bytes:
            self._give_up()
            return {}
        whole = (item for item in listed if item["Size"] == source.size_of(item["PartNumber"]))
        found = (_sent_part(item, remembered.get(item["PartNumber"])) for item in whole)
        return {part.number: part for part in found if part is not None}

    def _begin(self, source: FileParts) -> None:
        from botocore.exceptions import ClientError

        headers = headers_of(self._key)
        uses_sha256 = self._bucket.takes_sha256
        checksum = {"ChecksumAlgorithm": "SHA256"} if uses_sha256 else {}
        try:
            answer = self._bucket.client.create_multipart_upload(
                **self._bucket.at(self._key),
                **checksum,
                ContentType=headers.content_type,
                CacheControl=headers.cache_control,
            )
        except ClientError as error:
            self._raise_if_checksum_unknown(error)
            raise
        self._upload = Upload(answer["UploadId"], source.part_bytes, uses_sha256)
        self._journal.begin(self._upload)

    def _send_parts(
        self,
        file: BinaryIO,
        source: FileParts,
        there: dict[int, SentPart],
        advance: "_CountedOnce",
    ) -> list[SentPart]:
        """Send what is not there; returns all parts."""
        done: dict[int, SentPart] = {}
        pending: set[Future[None]] = set()

        def send(part: FilePart) -> None:
            done[part.number] = self._send(file, part)
            advance(part.number, part.size)

        with ThreadPoolExecutor(STREAMS, thread_name_prefix="upload") as pool:
            try:
                for part in source.read(with_md5=not self._upload.uses_sha256):
                    known = there.get(part.number)
                    if known is not None and known.sha256 == part.sha256.hex():
                        done[part.number] = known
                        advance(part.number, part.size)
                        continue
                    pending.add(pool.submit(send, part))
                    if len(pending) == STREAMS:
                        finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                        _raise_failures(finished)
                _raise_failures(wait(pending).done)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [done[number] for number in sorted(done)]

    def _send(self, file: BinaryIO, part: FilePart) -> SentPart:
        from botocore.exceptions import ClientError

        body = PartBody(file.fileno(), part.start, part.end)
        checksum = (
            {"ChecksumSHA256": base64_of(part.sha256)}
            if self._upload.uses_sha256
            else {"ContentMD5": base64_of(part.md5)}
        )
        try:
            answer = self._bucket.client.upload_part(
                **self._named(), **checksum, PartNumber=part.number, Body=body
            )
        except ClientError as error:
            if error_code(error) in _GONE:
                raise self._lost() from error
            self._raise_if_checksum_unknown(error)
            raise
        sent = SentPart(part.number, answer["ETag"], part.sha256.hex())
        self._journal.add(sent)
        return sent

    def _complete(self, source: FileParts, sent: list[SentPart]) -> None:
        from botocore.exceptions import ClientError

        try:
            self._bucket.client.complete_multipart_upload(
                **self._named(),
                **CREATE,
                MultipartUpload={"Parts": [self._completed(part) for part in sent]},
                MpuObjectSize=source.size,
            )
        except ClientError as error:
            if error_code(error) not in REFUSED | _GONE:
                raise
            # Somebody else stored the same, or the answer to an earlier try was lost.
            there = self._bucket.is_there(self._key, source.size)
            self._give_up()
            if not there:
                raise self._lost() from error

    def _completed(self, part: SentPart) -> dict[str, Any]:
        named: dict[str, Any] = {"PartNumber": part.number, "ETag": part.etag}
        if self._upload.uses_sha256:
            named["ChecksumSHA256"] = base64_of(bytes.fromhex(part.sha256))
        return named

    def _raise_if_checksum_unknown(self, error: Any) -> None:
        """Begin again with another kind of checksum, if this may be the store's reason."""
        if self._bucket.may_not_take_sha256 and error_code(error) in UNKNOWN_HEADER:
            self._bucket.use_md5()
            raise self._lost() from error

    def _give_up(self) -> None:
        """Have the store forget the parts."""
        self._journal.clear()
        if self._upload is not _NONE:
            abort(self._bucket, self._key, self._upload.id)
            self._upload = _NONE

    def _lost(self) -> _LostUploadError:
        return _LostUploadError(f"{self._label}: the store lost the upload; push again")

    def _named(self) -> dict[str, str]:
        return {**self._bucket.at(self._key), "UploadId": self._upload.id}


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


def abort(bucket: Bucket, key: str, upload_id: str) -> None:
    """Have the store forget an upload; one that it does not know is a success."""
    from botocore.exceptions import ClientError

    with bucket.explained(key):
        try:
            bucket.client.abort_multipart_upload(**bucket.at(key), UploadId=upload_id)
        except ClientError as error:
            if error_code(error) not in _GONE:
                raise


def _sent_part(entry: dict[str, Any], remembered: SentPart | None) -> SentPart | None:
    """A part that the store lists, if it is known what its bytes are."""
    number, etag = entry["PartNumber"], entry["ETag"]
    if "ChecksumSHA256" in entry:
        return SentPart(number, etag, base64.b64decode(entry["ChecksumSHA256"]).hex())
    return remembered if remembered is not None and remembered.etag == etag else None


def _raise_failures(done: set[Future[None]]) -> None:
    for future in done:
        future.result()
