"""The part of a bucket that is a store, and the single requests that are sent to it.

Whatever is sent carries a checksum that the store compares with what arrives: SHA-256,
or Content-MD5 for a store that does not know the newer header.
"""

import base64
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from ptefoundry.digest import hash_bytes
from ptefoundry.errors import StoreError, StoreRefusedError
from ptefoundry.registry.store.interface import ObjectInfo
from ptefoundry.registry.store.keys import check_key, headers_of
from ptefoundry.s3 import error_code, explained

Condition = dict[str, str]
CREATE: Condition = {"IfNoneMatch": "*"}
MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
#: The condition does not hold; or others were writing at the same time, and it may.
REFUSED = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
UNKNOWN_HEADER = frozenset({"InvalidArgument", "InvalidRequest", "NotImplemented", "501"})


@dataclass
class Bucket:
    """A bucket, and the prefix that all keys are below."""

    client: Any
    name: str
    prefix: str
    """Empty, or ends in a slash."""
    _sha256_known: bool | None = field(default=None, init=False)
    """None before the store has taken or refused the first checksum."""

    @property
    def takes_sha256(self) -> bool:
        """Whether to send SHA-256, as far as is known; else Content-MD5."""
        return self._sha256_known is not False

    @property
    def may_not_take_sha256(self) -> bool:
        """Whether a refusal may be one of the checksum's kind."""
        return self._sha256_known is None

    def use_md5(self) -> None:
        """Send Content-MD5 from now on."""
        self._sha256_known = False

    @property
    def url(self) -> str:
        """As `s3://bucket/prefix/`."""
        return f"s3://{self.name}/{self.prefix}"

    def at(self, key: str) -> dict[str, str]:
        """The arguments that name an object."""
        return {"Bucket": self.name, "Key": self.prefix + check_key(key)}

    def explained(self, key: str) -> AbstractContextManager[None]:
        """Turn boto3's errors into StoreErrors of this object."""
        return explained(self.url + key, StoreError, refusal_type=StoreRefusedError)

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object, None if there is none."""
        from botocore.exceptions import ClientError

        with self.explained(key):
            try:
                found = self.client.head_object(**self.at(key))
            except ClientError as error:
                if error_code(error) in MISSING:
                    return None
                raise
        return ObjectInfo(
            key, found["ContentLength"], found["LastModified"].timestamp(), found["ETag"]
        )

    def put(
        self, key: str, data: bytes, condition: Condition, *, sha256: str | None = None
    ) -> str | None:
        """Write an object in one request; returns its ETag, None if the condition refuses.

        Args:
            key: of the object.
            data: its bytes.
            condition: under which it is written.
            sha256: digest of `data` in hex, where it is known already.
        """
        from botocore.exceptions import ClientError

        headers = headers_of(key)

        def send(checksum: dict[str, str]) -> Any:
            return self.client.put_object(
                **self.at(key),
                **condition,
                **checksum,
                Body=data,
                ContentType=headers.content_type,
                CacheControl=headers.cache_control,
            )

        with self.explained(key):
            try:
                answer = self._send_checked(send, data, sha256 or hash_bytes(data))
            except ClientError as error:
                missing = MISSING if "IfMatch" in condition else frozenset()
                if error_code(error) in REFUSED | missing:
                    return None
                raise
        return str(answer["ETag"])

    def is_there(self, key: str, size: int) -> bool:
        """Whether an object whose key is its digest is stored already.

        Raises:
            StoreError: what is there has another size.
        """
        found = self.head(key)
        if found is not None and found.size != size:
            raise StoreError(
                f"{self.url}{key}: expected {size} bytes, the store has {found.size}; delete this "
                "damaged object and push again"
            )
        return found is not None

    def _send_checked(self, send: Callable[[dict[str, str]], Any], data: bytes, sha256: str) -> Any:
        """Send bytes with a checksum of a kind that the store takes."""
        from botocore.exceptions import ClientError

        if self.takes_sha256:
            try:
                answer = send({"ChecksumSHA256": base64_of(bytes.fromhex(sha256))})
            except ClientError as error:
                if not self.may_not_take_sha256 or error_code(error) not in UNKNOWN_HEADER:
                    raise
            else:
                self._sha256_known = True
                return answer
        # Not for safety: it is the only checksum that every store has always compared.
        md5 = hashlib.md5(data, usedforsecurity=False)
        answer = send({"ContentMD5": base64_of(md5.digest())})
        self.use_md5()
        return answer


def base64_of(digest: bytes) -> str:
    """A digest as S3's headers have it."""
    return base64.b64encode(digest).decode()
