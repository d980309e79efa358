"""Storing a file in a bucket, by one request or by many, and cleaning up after the latter."""

import time
from pathlib import Path
from typing import Any

from ptefoundry.digest import hash_bytes
from ptefoundry.errors import StoreError
from ptefoundry.registry.store.copying import check_digest
from ptefoundry.registry.store.interface import Advance
from ptefoundry.registry.store.keys import check_key
from ptefoundry.registry.store.s3_bucket import CREATE, Bucket
from ptefoundry.registry.store.s3_journal import Journal
from ptefoundry.registry.store.s3_multipart import MultipartUpload, abort

ONE_REQUEST_BYTES = 16 << 20
"""Up to this size a file is held in memory and the store compares its whole digest."""
_TRIES = 8
_PAUSE_S = 0.05


def upload(
    bucket: Bucket, key: str, path: Path, *, sha256: str, advance: Advance, cache: Path
) -> None:
    """See `Store.upload`.

    A small file is sent without asking first, as whoever has many asked for all of them.

    Args:
        bucket: to store it in.
        key: made of the digest.
        path: the file.
        sha256: 64 hex digits.
        advance: told of bytes that need not be sent, too.
        cache: folder in which uploads by parts are remembered until they are finished.
    """
    check_key(key)
    size = path.stat().st_size
    if size <= ONE_REQUEST_BYTES:
        _put(bucket, key, path, sha256)
        advance(size)
    else:
        name = f"{bucket.client.meta.endpoint_url} {bucket.url}{key} {sha256}"
        journal = Journal(cache / f"{hash_bytes(name.encode())}.jsonl")
        with journal.locked(label=bucket.url + key):
            if bucket.is_there(key, size):
                advance(size)
                journal.remove()
                return
            MultipartUpload(bucket, key, path, sha256, journal).run(advance)


def drop_uploads(bucket: Bucket, older_than_s: float) -> int:
    """Abort uploads by parts that began earlier, whose parts cost money and are not listed.

    Returns how many. Whoever is still sending one of them begins again.
    """
    oldest, dropped = time.time() - older_than_s, 0
    pages = bucket.client.get_paginator("list_multipart_uploads").paginate(
        Bucket=bucket.name, Prefix=bucket.prefix
    )
    with bucket.explained(""):
        stale: list[Any] = [
            found
            for page in pages
            for found in page.get("Uploads", ())
            if found["Initiated"].timestamp() <= oldest
        ]
    for found in stale:
        abort(bucket, str(found["Key"]).removeprefix(bucket.prefix), found["UploadId"])
        dropped += 1
    return dropped


def _put(bucket: Bucket, key: str, path: Path, sha256: str) -> None:
    data = path.read_bytes()
    check_digest(path, hash_bytes(data), sha256)
    for _ in range(_TRIES):
        if bucket.put(key, data, CREATE, sha256=sha256) is not None or bucket.is_there(
            key, len(data)
        ):
            return
        time.sleep(_PAUSE_S)
    raise StoreError(
        f"{bucket.url}{key}: the store refused to create it {_TRIES} times though it is not there; "
        "run again later"
    )
