"""Credentials for fetching in a container, where profiles and files of tokens are not.

They are found out here, as the libraries that fetch would find them, and handed on as keys.
"""

import os
from collections.abc import Iterable, Iterator, Mapping

from ptefoundry.errors import ConfigError

_S3, _HUB = "s3://", "hf:"
#: Name files or services that a container has not, so that libraries would fail on them.
_OUTSIDE = frozenset(
    {
        "AWS_CONFIG_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_DEFAULT_PROFILE",
        "AWS_PROFILE",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "HF_HOME",
        "HF_HUB_CACHE",
        "HF_TOKEN_PATH",
    }
)


def with_credentials(variables: Mapping[str, str], sources: Iterable[str]) -> Mapping[str, str]:
    """These variables, but with credentials in place of what names where such are.

    Args:
        variables: of this process.
        sources: addresses of what will be fetched; nothing is looked up for other kinds.

    Raises:
        ConfigError: a profile of AWS is missing or wrong, or a role cannot be taken.
    """
    named = list(sources)
    found = {name: value for name, value in variables.items() if name not in _OUTSIDE}
    if any(source.startswith(_S3) for source in named):
        found |= _aws_variables()
    if any(source.startswith(_HUB) for source in named):
        found |= _hub_variables()
    return found


def _aws_variables() -> dict[str, str]:
    from boto3.session import Session
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        session = Session()
        # Roles are taken and logins renewed by this.
        credentials = session.get_credentials()
        keys = None if credentials is None else credentials.get_frozen_credentials()
        settings = session._session.get_scoped_config()
    except (BotoCoreError, ClientError) as error:
        raise ConfigError(
            f"credentials for s3:// sources: {error}; check AWS_* and ~/.aws, or log in again"
        ) from error
    found = {
        "AWS_DEFAULT_REGION": session.region_name,
        "AWS_ENDPOINT_URL": os.environ.get("AWS_ENDPOINT_URL", settings.get("endpoint_url")),
    }
    if keys is not None:
        found["AWS_ACCESS_KEY_ID"] = keys.access_key
        found["AWS_SECRET_ACCESS_KEY"] = keys.secret_key
        found["AWS_SESSION_TOKEN"] = keys.token
    return dict(_set(found))


def _hub_variables() -> dict[str, str]:
    from huggingface_hub import get_token

    return dict(_set({"HF_TOKEN": get_token()}))


def _set(variables: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    yield from ((name, value) for name, value in variables.items() if value)
