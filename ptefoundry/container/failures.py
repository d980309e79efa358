"""What goes wrong with an engine, as an error of ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ptefoundry.errors import ContainerError

HOW_TO_START = (
    "start one (`systemctl start docker`, or `podman system service --time=0`), or name its "
    "socket in DOCKER_HOST"
)
"""The next step where no engine answers."""


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turn what the engine's client raises into ours; `doing` says what was tried.

    Raises:
        ContainerError: in place of the client's errors.
    """
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as error:
        raise ContainerError(f"{doing}: the container engine refuses: {_reason(error)}") from error
    except (DockerException, RequestException, OSError) as error:
        raise ContainerError(
            f"{doing}: the container engine does not answer any more ({type(error).__name__}); "
            f"{HOW_TO_START}, and run the same command again: what is finished is kept"
        ) from error


def _reason(error: Any) -> str:
    return str(error.explanation or error).strip()
