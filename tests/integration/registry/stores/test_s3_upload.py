"""Uploads by parts against SeaweedFS: killed, disturbed, raced, refused."""

import base64
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from upload_program import PART_BYTES, STREAMS

from ptefoundry import s3
from ptefoundry.errors import StoreError
from ptefoundry.registry.names import blob_key
from ptefoundry.registry.store import file_parts, s3_multipart, s3_upload
from ptefoundry.registry.store.s3 import S3Store
from support.sides import BUCKET

PARTS = 12
SIZE = (PARTS - 1) * PART_BYTES + 12_345


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_parts, "LEAST_PART_BYTES", PART_BYTES)
    monkeypatch.setattr(s3_multipart, "STREAMS", STREAMS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "foundation.ptd"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def key(digest: str) -> str:
    return blob_key(f"sha256:{digest}")


def count(store: S3Store, operation: str) -> list[dict[str, Any]]:
    """The arguments of each such request from now on."""
    seen: list[dict[str, Any]] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        seen.append(params)

    store.bucket.client.meta.events.register(f"provide-client-params.s3.{operation}", note)
    return seen


def uploads(store: S3Store) -> list[Any]:
    found = store.bucket.client.list_multipart_uploads(Bucket=BUCKET, Prefix=store.bucket.prefix)
    return list(found.get("Uploads", ()))


def killed(store: S3Store, key: str, path: Path, digest: str, cache: Path, parts: int) -> None:
    """Upload in a process that kills itself after some parts."""
    script = Path(__file__).with_name("upload_program.py")
    arguments = [BUCKET, store.bucket.prefix, key, path, digest, cache, parts]
    done = subprocess.run([sys.executable, script, *map(str, arguments)], check=False)
    assert done.returncode == -signal.SIGKILL


def send(store: S3Store, key: str, path: Path, digest: str) -> int:
    moved: list[int] = []
    store.upload(key, path, sha256=digest, advance=moved.append)
    return sum(moved)


def stored(store: S3Store, key: str) -> str:
    answer = store.bucket.client.get_object(**store.bucket.at(key))
    return hashlib.sha256(answer["Body"].read()).hexdigest()


def test_all_parts_are_sent_with_checksums(
    s3_store: S3Store, key: str, path: Path, digest: str, tmp_path: Path
) -> None:
    sent = count(s3_store, "UploadPart")

    assert send(s3_store, key, path, digest) == SIZE

    assert sorted(part["PartNumber"] for part in sent) == list(range(1, PARTS + 1))
    assert all("ChecksumSHA256" in part for part in sent)
    assert stored(s3_store, key) == digest
    head = s3_store.bucket.client.head_object(**s3_store.bucket.at(key))
    assert head["CacheControl"] == "public, max-age=31536000, immutable"
    assert head["ContentType"] == "application/octet-stream"
    assert uploads(s3_store) == []
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_killed_upload_goes_on(
    s3_store: S3Store, key: str, path: Path, digest: str, tmp_path: Path
) -> None:
    killed(s3_store, key, path, digest, tmp_path / "uploads", 6)
    assert s3_store.head(key) is None
    sent = count(s3_store, "UploadPart")

    assert send(s3_store, key, path, digest) == SIZE

    assert PARTS - 6 - STREAMS <= len(sent) <= PARTS - 6
    assert stored(s3_store, key) == digest
    assert uploads(s3_store) == []


def test_an_upload_killed_twice_goes_on(
    s3_store: S3Store, key: str, path: Path, digest: str, tmp_path: Path
) -> None:
    killed(s3_store, key, path, digest, tmp_path / "uploads", 4)
    killed(s3_store, key, path, digest, tmp_path / "uploads", 8)
    sent = count(s3_store, "UploadPart")

    send(s3_store, key, path, digest)

    assert len(sent) <= PARTS - 8
    assert stored(s3_store, key) == digest


def test_nothing_is_lost_where_the_store_forgot_the_upload(
    s3_store: S3Store, key: str, path: Path, digest: str, tmp_path: Path
) -> None:
    killed(s3_store, key, path, digest, tmp_path / "uploads", 6)
    assert s3_store.drop_unfinished(3600) == 0
    assert s3_store.drop_unfinished(0) == 1
    sent = count(s3_store, "UploadPart")

    send(s3_store, key, path, digest)

    assert len(sent) == PARTS
    assert stored(s3_store, key) == digest


def test_a_damaged_memory_of_the_upload_is_no_harm(
    s3_store: S3Store, key: str, path: Path, digest: str, tmp_path: Path
) -> None:
    killed(s3_store, key, path, digest, tmp_path / "uploads", 6)
    (journal,) = (tmp_path / "uploads").iterdir()
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:4]) + b'{"number": 99, "etag"')

    send(s3_store, key, path, digest)

    assert stored(s3_store, key) == digest
    assert uploads(s3_store) == []


def test_a_part_that_somebody_replaced_is_not_taken(
    s3_store: S3Store, key: str, path: Path, digest: str, tmp_path: Path
) -> None:
    killed(s3_store, key, path, digest, tmp_path / "uploads", 6)
    (upload,) = uploads(s3_store)
    client = s3_store.bucket.client
    # SeaweedFS then lists both and takes the one that completing names; AWS keeps the later.
    client.upload_part(
        **s3_store.bucket.at(key),
        UploadId=upload["UploadId"],
        PartNumber=3,
        Body=b"x" * PART_BYTES,
        ChecksumAlgorithm="SHA256",
    )

    send(s3_store, key, path, digest)

    assert stored(s3_store, key) == digest


def test_a_file_of_other_bytes_leaves_nothing(
    s3_store: S3Store, key: str, path: Path, digest: str, tmp_path: Path
) -> None:
    with path.open("r+b") as file:
        file.seek(SIZE - 5)
        file.write(b"other")

    with pytest.raises(StoreError, match=f"expected sha256 {digest}, found"):
        send(s3_store, key, path, digest)

    assert s3_store.head(key) is None
    assert uploads(s3_store) == []


@pytest.mark.parametrize("change", ["write", "truncate"])
def test_a_file_that_changes_while_it_is_sent_is_not_stored(
    s3_store: S3Store, key: str, path: Path, digest: str, change: str
) -> None:
    changed = threading.Event()

    def disturb(_: int) -> None:
        if changed.is_set():
            return
        changed.set()
        with path.open("r+b") as file:
            if change == "write":
                file.seek(10)
                file.write(b"written in the middle of it")
            else:
                file.truncate(SIZE // 2)

    with pytest.raises(StoreError):
        s3_store.upload(key, path, sha256=digest, advance=disturb)

    assert s3_store.head(key) is None


def test_bytes_that_change_between_hashing_and_sending_are_refused(
    s3_store: S3Store, key: str, path: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = path.read_bytes()

    class Changed(s3_multipart.PartBody):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            return data.replace(whole[:100], b"!" * 100)

    monkeypatch.setattr(s3_multipart, "PartBody", Changed)

    with pytest.raises(StoreError):
        send(s3_store, key, path, digest)

    assert s3_store.head(key) is None


def test_two_on_one_machine_share_the_work(
    s3_store: S3Store, key: str, path: Path, digest: str
) -> None:
    sent = count(s3_store, "UploadPart")

    with ThreadPoolExecutor(4) as pool:
        moved = list(pool.map(lambda _: send(s3_store, key, path, digest), range(4)))

    assert moved == [SIZE] * 4
    assert len(sent) == PARTS
    assert stored(s3_store, key) == digest


def test_two_machines_store_one_object(
    s3_store: S3Store, key: str, path: Path, digest: str, tmp_path: Path
) -> None:
    stores = [
        S3Store(s3_store.bucket.client, BUCKET, s3_store.bucket.prefix, cache=tmp_path / name)
        for name in ("one", "two", "three")
    ]

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda store: send(store, key, path, digest), stores))

    assert stored(s3_store, key) == digest
    assert uploads(s3_store) == []


def test_an_answer_to_completing_that_is_lost(
    s3_store: S3Store, key: str, path: Path, digest: str, lose_answers: Callable[..., list[str]]
) -> None:
    lost = lose_answers(s3_store, "CompleteMultipartUpload", 1)

    assert send(s3_store, key, path, digest) == SIZE

    assert lost == ["CompleteMultipartUpload"]
    assert stored(s3_store, key) == digest
    assert uploads(s3_store) == []


def test_a_store_without_sha256_gets_md5(
    s3_store: S3Store, key: str, path: Path, digest: str
) -> None:
    def refuse(params: dict[str, Any], **_: Any) -> None:
        if "ChecksumSHA256" in params or "ChecksumAlgorithm" in params:
            answer: Any = {"Error": {"Code": "NotImplemented", "Message": "no such header"}}
            raise botocore.exceptions.ClientError(answer, "any")

    events = s3_store.bucket.client.meta.events
    for operation in ("UploadPart", "PutObject"):
        events.register(f"provide-client-params.s3.{operation}", refuse)
    sent = count(s3_store, "UploadPart")

    assert send(s3_store, key, path, digest) == SIZE

    assert len([part for part in sent if "ContentMD5" in part]) == PARTS
    assert stored(s3_store, key) == digest
    assert uploads(s3_store) == []
    s3_store.create("index.json", b"{}")
    assert s3_store.read("index.json", limit=9)[0] == b"{}"


def test_large_files_get_larger_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for size in (1, 1 << 30, 10_000 * (32 << 20), 10_000 * (32 << 20) + 1, 5 << 40):
        part = file_parts.part_bytes(size)
        assert part >= 32 << 20
        assert part % (1 << 20) == 0
        assert -(-size // part) <= 10_000


def test_small_files_are_one_request(s3_store: S3Store, tmp_path: Path) -> None:
    path = tmp_path / "adapter.ptd"
    path.write_bytes(b"a" * s3_upload.ONE_REQUEST_BYTES)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    puts, parts = count(s3_store, "PutObject"), count(s3_store, "UploadPart")

    send(s3_store, blob_key(f"sha256:{digest}"), path, digest)

    assert (len(puts), len(parts)) == (1, 0)
    assert puts[0]["IfNoneMatch"] == "*"
    found = s3_store.bucket.client.head_object(
        **s3_store.bucket.at(blob_key(f"sha256:{digest}")), ChecksumMode="ENABLED"
    )
    assert found["ChecksumSHA256"] == puts[0]["ChecksumSHA256"]


def test_a_small_file_that_is_there_already(s3_store: S3Store, tmp_path: Path) -> None:
    path = tmp_path / "adapter.ptd"
    path.write_bytes(b"adapter")
    digest = hashlib.sha256(b"adapter").hexdigest()
    key = blob_key(f"sha256:{digest}")
    heads = count(s3_store, "HeadObject")

    assert send(s3_store, key, path, digest) == 7
    assert heads == []
    assert send(s3_store, key, path, digest) == 7
    assert len(heads) == 1

    s3_store.bucket.client.put_object(**s3_store.bucket.at(key), Body=b"other size")
    with pytest.raises(StoreError, match="expected 7 bytes, the store has 10"):
        send(s3_store, key, path, digest)


@pytest.mark.parametrize("size", [1000, SIZE])
def test_what_is_sent_is_signed_by_its_checksum(
    s3_store: S3Store, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.ptd"
    path.write_bytes(os.urandom(size))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    signed = list[tuple[str, bytes]]()

    def note(request: Any, **_: Any) -> None:
        checksum = request.headers["x-amz-checksum-sha256"]
        signed.append((base64.b64decode(checksum).hex(), request.headers["X-Amz-Content-SHA256"]))

    for operation in ("PutObject", "UploadPart"):
        s3_store.bucket.client.meta.events.register(f"before-send.s3.{operation}", note)
    # Whatever hashes a body to sign it reads it in pieces of this size.
    monkeypatch.setattr("botocore.auth.PAYLOAD_BUFFER", "not to be used")

    send(s3_store, blob_key(f"sha256:{digest}"), path, digest)

    assert signed
    assert all(checksum == payload.decode() for checksum, payload in signed)


def test_the_client_is_shared_by_threads(s3_store: S3Store) -> None:
    assert s3_store.bucket.client.meta.config.max_pool_connections == s3.CONNECTIONS
    assert s3_store.bucket.client.meta.config.tcp_keepalive
