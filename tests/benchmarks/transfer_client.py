"""Moves the files of a folder to or from S3, in a process of its own to be measured.

Arguments: registry | boto3, push | pull, bucket, prefix, folder of the files, folder to
pull into. `contents.json` in the folder names the files, their digests and chunk lists.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ptefoundry.digest import hash_bytes
from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.content import Blob, blob_of, send_blobs
from ptefoundry.registry.download import WantedBlob
from ptefoundry.registry.fetch import fetch_blobs
from ptefoundry.registry.parallel import BLOB_THREADS
from ptefoundry.registry.store.open import open_store

CONTENTS = "contents.json"


def main() -> None:
    client, direction, bucket, prefix, folder, target = sys.argv[1:]
    move = {
        ("registry", "push"): registry_push,
        ("registry", "pull"): registry_pull,
        ("boto3", "push"): boto3_push,
        ("boto3", "pull"): boto3_pull,
    }[client, direction]
    move(bucket, prefix, Path(folder), Path(target))


def registry_push(bucket: str, prefix: str, folder: Path, target: Path) -> None:
    """Verified as it is read and by the store as it arrives; created under a condition."""
    blobs = []
    for name, entry in contents(folder).items():
        path = folder / name
        digest = f"sha256:{entry['sha256']}"
        blobs.append(Blob(digest=digest, size=path.stat().st_size, content=path))
        if entry["chunks"] is not None:
            blobs.append(blob_of(entry["chunks"].encode()))
    send_blobs(open_store(f"s3://{bucket}/{prefix}"), blobs, label="pushing")


def registry_pull(bucket: str, prefix: str, folder: Path, target: Path) -> None:
    """Every chunk is verified as it arrives, and the whole."""
    blobs = []
    for name, entry in contents(folder).items():
        chunks = None
        if entry["chunks"] is not None:
            data = entry["chunks"].encode()
            chunks = WantedBlob(digest=f"sha256:{hash_bytes(data)}", size=len(data))
        size = (folder / name).stat().st_size
        blobs.append(WantedBlob(digest=f"sha256:{entry['sha256']}", size=size, chunks=chunks))
    fetch_blobs(open_store(f"s3://{bucket}/{prefix}"), blobs, BlobCache(target))


def boto3_push(bucket: str, prefix: str, folder: Path, target: Path) -> None:
    """As its documentation shows it, several files at once; nothing is verified."""
    import boto3

    client = boto3.client("s3")

    def upload(name: str) -> None:
        client.upload_file(str(folder / name), bucket, f"{prefix}/{name}")

    with ThreadPoolExecutor(BLOB_THREADS) as pool:
        list(pool.map(upload, contents(folder)))


def boto3_pull(bucket: str, prefix: str, folder: Path, target: Path) -> None:
    """As its documentation shows it, several files at once; nothing is verified."""
    import boto3

    client = boto3.client("s3")
    target.mkdir(parents=True)

    def download(name: str) -> None:
        client.download_file(bucket, f"{prefix}/{name}", str(target / name))

    with ThreadPoolExecutor(BLOB_THREADS) as pool:
        list(pool.map(download, contents(folder)))


def contents(folder: Path) -> dict[str, dict[str, str | None]]:
    """Digest and chunk list of each file by its name."""
    found: dict[str, dict[str, str | None]] = json.loads((folder / CONTENTS).read_text())
    return found


if __name__ == "__main__":
    main()
