"""What only an S3 store can be asked: does it compare checksums, and conditions of completing."""

import hashlib
from http import HTTPStatus
from typing import Any

from ptefoundry.registry.store.s3_bucket import CREATE, Bucket, base64_of
from ptefoundry.registry.store.s3_multipart import abort

_REFUSALS = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.PRECONDITION_FAILED})
"""Others, as of credentials, say nothing of what the store can do."""


def refuses_wrong_checksum(bucket: Bucket, key: str) -> bool:
    """Whether bytes that are not those of their SHA-256 are refused; may leave an object."""
    from botocore.exceptions import ClientError

    digest = base64_of(hashlib.sha256(b"other bytes").digest())
    with bucket.explained(key):
        try:
            bucket.client.put_object(**bucket.at(key), Body=b"bytes", ChecksumSHA256=digest)
        except ClientError as error:
            if _is_refusal(error):
                return True
            raise
    return False


def refuses_second_multipart(bucket: Bucket, key: str) -> bool:
    """Whether an upload by parts can be kept from replacing an object; leaves the object."""
    from botocore.exceptions import ClientError

    client, named = bucket.client, bucket.at(key)
    with bucket.explained(key):
        client.put_object(**named, Body=b"first")
        upload_id = client.create_multipart_upload(**named)["UploadId"]
        try:
            etag = client.upload_part(**named, UploadId=upload_id, PartNumber=1, Body=b"second")[
                "ETag"
            ]
            client.complete_multipart_upload(
                **named,
                **CREATE,
                UploadId=upload_id,
                MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]},
            )
        except ClientError as error:
            abort(bucket, key, upload_id)
            if not _is_refusal(error):
                raise
        return bytes(client.get_object(**named)["Body"].read()) == b"first"


def _is_refusal(error: Any) -> bool:
    return error.response["ResponseMetadata"]["HTTPStatusCode"] in _REFUSALS
