"""The environment of stages in a container: fixed, but for what fetching needs."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ptefoundry.container.code import CODE_FOLDER
from ptefoundry.container.image import Image
from ptefoundry.container.index import CERTIFICATE_VARIABLES, PROXY_VARIABLES
from ptefoundry.container.job import Mount, same_place
from ptefoundry.report import ASSEMBLE_VARIABLE, PROGRESS_VARIABLE
from ptefoundry.toolchain import IMAGE_VARIABLE

from .container_credentials import with_credentials

_PASSED_ON = (ASSEMBLE_VARIABLE,)
#: Beginnings of names: credentials, indexes, certificate authorities, proxies.
_FOR_FETCHING = ("AWS_", "HF_", "PIP_", "SSL_CERT_", "REQUESTS_CA_", "CURL_CA_")
_AUTHORITIES = ("AWS_CA_BUNDLE", *CERTIFICATE_VARIABLES)


def build_environment(image: Image) -> Mapping[str, str]:
    """What stages in that image find, whoever runs them."""
    return {
        "HOME": "/tmp",  # noqa: S108  the container's own
        "PYTHONPATH": str(CODE_FOLDER),
        # Not from the workspace, which may have a folder of that name as our own repository does.
        "PYTHONSAFEPATH": "1",
        "DVC_NO_ANALYTICS": "1",
        PROGRESS_VARIABLE: "lines",
        IMAGE_VARIABLE: image.digest,
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
    }


def fetch_environment(sources: Iterable[str]) -> Mapping[str, str]:
    """What of this process's environment stages with network get besides.

    Args:
        sources: addresses of what they fetch.

    Raises:
        ConfigError: credentials for these cannot be had.
    """
    variables = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_FOR_FETCHING) or name.lower() in PROXY_VARIABLES
    }
    return with_credentials(variables, sources)


def fetch_mounts() -> Iterator[Mount]:
    """Files of certificates that the environment names."""
    paths = {os.environ[name] for name in _AUTHORITIES if name in os.environ}
    yield from (same_place(Path(path), read_only=True) for path in paths if Path(path).is_file())
