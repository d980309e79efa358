"""Talking to S3 and the stores that are compatible with it: the client, and its errors.

Credentials, region and endpoint are boto3's: AWS_* variables, profiles, roles,
AWS_ENDPOINT_URL.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ptefoundry.errors import FoundryError
from ptefoundry.s3_signing import sign_by_checksum

CONNECTIONS = 32
"""Connections to one store that are kept open at most."""
_CONNECT_TIMEOUT_S = 20
_READ_TIMEOUT_S = 60
"""The longest pause between two pieces of an answer."""
_TRIES = 6

_LOGIN = (
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL for "
    "another store than AWS"
)
_BUSY = "the store is busy and stayed so for several tries: run again later"
_DAMAGED = "the bytes changed on their way, or in the file while it was sent: run again"
#: Answers that are the same however often one asks.
_REFUSALS = frozenset(
    {
        "403",
        "AccessDenied",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "NoSuchBucket",
        "PermanentRedirect",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
_ADVICE = {
    "403": f"the credentials may not read it, or it is not there and they may not list: {_LOGIN}",
    "404": "there is no such object: check bucket and key",
    "AccessDenied": f"the credentials may not do that: {_LOGIN}",
    "ExpiredToken": "the login has expired: log in again, for instance with `aws sso login`",
    "InternalError": "the store failed: run again later",
    "InvalidAccessKeyId": f"the store does not know this access key: {_LOGIN}",
    "BadDigest": _DAMAGED,
    "NoSuchBucket": "there is no such bucket: check the name and AWS_ENDPOINT_URL",
    "NoSuchKey": "there is no such object: check the key; a folder's ends in /",
    "NotImplemented": (
        "it does not know a header of the request; a registry needs a store with conditional "
        "writes (If-None-Match and If-Match), as AWS S3, R2, Ceph, MinIO and SeaweedFS have"
    ),
    "PermanentRedirect": "the bucket is in another region: set AWS_DEFAULT_REGION to its own",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
    "ServiceUnavailable": _BUSY,
    "SignatureDoesNotMatch": f"the secret key is wrong: {_LOGIN}",
    "SlowDown": _BUSY,
    "XAmzContentChecksumMismatch": _DAMAGED,
    "XAmzContentSHA256Mismatch": _DAMAGED,
}


def connect(*, endpoint_url: str | None = None) -> Any:
    """A boto3 client for S3; may be used by several threads.

    Args:
        endpoint_url: of another store than AWS; None for what the environment says.

    Raises:
        botocore.exceptions.BotoCoreError: the environment's settings are contradictory;
            also ValueError for an endpoint that is no URL.
    """
    import boto3
    from botocore.config import Config

    # S3-compatible stores do not all know the newer checksum headers; where a checksum
    # is wanted it is sent explicitly.
    config = Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": _TRIES},
    )
    # boto3.client would remember the credentials of its first call.
    client = boto3.session.Session().client("s3", config=config, endpoint_url=endpoint_url)
    sign_by_checksum(client)
    return client


@contextmanager
def explained(
    label: str, error_type: type[FoundryError], *, refusal_type: type[FoundryError] | None = None
) -> Iterator[None]:
    """Turn boto3's errors into the project's own, with the next step.

    Args:
        label: names the object.
        error_type: of errors.
        refusal_type: of those where asking again is of no use; None: as of the others.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    refused = refusal_type or error_type
    try:
        yield
    except NoCredentialsError as error:
        raise refused(f"{label}: found no S3 credentials; {_LOGIN}") from error
    except ClientError as error:
        code = error_code(error)
        advice = _ADVICE.get(code, error.response["Error"].get("Message", "see the store's log"))
        kind = refused if code in _REFUSALS else error_type
        raise kind(f"{label}: the store answered {code}; {advice}") from error
    except BotoCoreError as error:
        raise error_type(
            f"{label}: the store could not be used ({error}); check the network and "
            "AWS_ENDPOINT_URL"
        ) from error


def error_code(error: Any) -> str:
    """The code of a botocore ClientError, for instance `NoSuchKey`, or `404` after HEAD."""
    return str(error.response["Error"].get("Code", "none"))
