"""Uploads a file to S3 by small parts and kills itself when some of them are there.

Arguments: bucket, prefix, key, path, digest, cache folder, parts after which to die.
"""

import os
import signal
import sys
from pathlib import Path

from ptefoundry import s3
from ptefoundry.registry.store import file_parts, s3_multipart
from ptefoundry.registry.store.s3 import S3Store

PART_BYTES = 5 << 20
"""The least that a store takes."""
STREAMS = 2


def main() -> None:
    bucket, prefix, key, path, digest, cache, limit = sys.argv[1:]
    file_parts.LEAST_PART_BYTES, s3_multipart.STREAMS = PART_BYTES, STREAMS
    sent = 0

    def advance(_: int) -> None:
        nonlocal sent
        sent += 1
        if sent == int(limit):
            os.kill(os.getpid(), signal.SIGKILL)

    store = S3Store(s3.connect(), bucket, prefix, cache=Path(cache))
    store.upload(key, Path(path), sha256=digest, advance=advance)


if __name__ == "__main__":
    main()
