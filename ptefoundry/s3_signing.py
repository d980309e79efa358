"""Signing what is sent to S3 by the checksum that it carries.

botocore hashes each body to sign it, also where the request names its SHA-256 already. Both
are compared with what arrives, so a wrong one is refused either way.
"""

import base64
from typing import Any

_SIGNER = "s3v4-by-checksum"
_CHECKSUM = "x-amz-checksum-sha256"
_USUAL = ("v4", "s3v4")
_OPERATIONS = ("PutObject", "UploadPart")


def sign_by_checksum(client: Any) -> None:
    """Have a botocore client for S3 hash no body whose SHA-256 it is told."""
    from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth

    class ByChecksum(S3SigV4Auth):  # type: ignore[misc]
        def payload(self, request: Any) -> Any:
            checksum = request.headers.get(_CHECKSUM)
            if checksum is None or not self._should_sha256_sign_payload(request):
                return super().payload(request)
            return base64.b64decode(checksum).hex()

    AUTH_TYPE_MAPS.setdefault(_SIGNER, ByChecksum)
    for operation in _OPERATIONS:
        client.meta.events.register(f"choose-signer.s3.{operation}", _choose)


def _choose(signature_version: Any, signing_name: str, **_: Any) -> str | None:
    """This signer in place of the usual one, none in place of others."""
    return _SIGNER if signing_name == "s3" and signature_version in _USUAL else None
