"""A container engine: Docker, or Podman behind the same API.

The one module that talks to an engine. Whatever goes wrong there becomes a
`ContainerError`; a program that fails in a container is no error of the engine.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ptefoundry.container.build_output import BuildFailedError, build_lines
from ptefoundry.container.failures import HOW_TO_START, engine_errors
from ptefoundry.container.job import Job, Mount
from ptefoundry.container.running import RunningJob
from ptefoundry.errors import ContainerError, MissingToolError

if TYPE_CHECKING:
    from docker import APIClient

JOB_LABEL = "org.ptefoundry.job"
"""Label of containers; its value says what for, as `Job.purpose`."""

_ANSWER_S = 60
#: Podman makes comma-separated text of a mount, and quotes nothing in it.
_UNQUOTED = frozenset(',"')


class Engine:
    """An engine that answers; close it after use."""

    def __init__(self, api: "APIClient") -> None:
        """Use `connect` instead, which finds out whether there is one."""
        self.api = api

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_error: object) -> None:
        self.api.close()

    @contextmanager
    def running(self, image: str, job: Job) -> Iterator[RunningJob]:
        """Run a command in a container, which is gone after the block.

        If the block is left before the command has ended, it is interrupted, and
        stopped by force if it does not end then.

        Args:
            image: ID of an image that the engine has.
            job: the command.

        Raises:
            ContainerError: there is no such image, what is to be mounted is missing or has a
                name that the engine cannot mount, or the engine refuses or is lost.
        """
        self._check_mounts(job)
        with engine_errors(f"starting {job.command[0]}"):
            container = self._create(image, job)
        running = RunningJob(self.api, container)
        try:
            with engine_errors(f"starting {job.command[0]}"):
                running.start()
            yield running
        finally:
            running.end()

    def inspect_image(self, name: str) -> dict[str, Any] | None:
        """What the engine knows of an image by its ID, tag or digest; None if it has none."""
        from docker.errors import ImageNotFound

        with engine_errors(f"looking for the image {name}"):
            try:
                found: dict[str, Any] = self.api.inspect_image(name)
            except ImageNotFound:
                return None
        return found

    def pull(self, name: str) -> None:
        """Get an image from its registry, as whom the user has signed in to it.

        Args:
            name: with a tag, or `name@sha256:...`.

        Raises:
            ContainerError: the engine cannot get it.
        """
        from docker.errors import APIError

        with engine_errors(f"pulling {name}"):
            try:
                events = self.api.pull(name, stream=True, decode=True)
                refusals = [event["error"] for event in events if "error" in event]
            except APIError as error:
                refusals = [error.explanation]
        if refusals:
            raise ContainerError(
                f"pulling {name}: the container engine refuses: {refusals[0]}; sign in to its "
                "registry (`docker login`, `podman login`), or build without one as "
                "docs/container.md shows"
            )

    def build(self, context: IO[bytes], options: Mapping[str, str]) -> Iterator[str]:
        """Build an image with BuildKit, or as Podman does; yields what that prints.

        The client library knows Docker's older builder only, which has no mounts.

        Args:
            context: a tar file of what the Dockerfile uses, with the Dockerfile.
            options: parameters of the request, such as `t` for the tag.

        Raises:
            BuildFailedError: the build failed.
        """
        with engine_errors("building the image"):
            answer = self.api.post(
                f"{self.api.base_url}/v{self.api.api_version}/build",
                params={"version": "2", **options},
                headers={"Content-Type": "application/x-tar"},
                data=context,
                stream=True,
                timeout=None,
            )
            if not answer.ok:
                raise BuildFailedError(answer.text.strip())
            yield from build_lines(answer.iter_lines())

    def remove_jobs(self, purpose: str) -> None:
        """Stop and remove what is left of jobs of a purpose whose processes were killed."""
        with engine_errors("removing containers of an earlier run"):
            label = f"{JOB_LABEL}={purpose}"
            for container in self.api.containers(all=True, filters={"label": label}):
                self.api.remove_container(container["Id"], force=True)

    def _create(self, image: str, job: Job) -> str:
        host = self.api.create_host_config(
            mounts=[_bind(mount) for mount in job.mounts],
            network_mode=None if job.network else "none",
            # Labels of files stay as they are where SELinux has them.
            security_opt=["no-new-privileges", "label=disable"],
            # The output is read here and need not be kept twice.
            log_config={"Type": "none"},
        )
        created = self.api.create_container(
            image,
            list(job.command),
            hostname=job.hostname,
            user=self._user(),
            working_dir=str(job.folder),
            environment=dict(job.environment),
            entrypoint=[],
            # Closes with this process's connection, which tells the job that nobody waits.
            stdin_open=True,
            host_config=host,
            labels={JOB_LABEL: job.purpose},
        )
        identifier: str = created["Id"]
        return identifier

    def _check_mounts(self, job: Job) -> None:
        with engine_errors(f"starting {job.command[0]}"):
            limited = self._is_podman()
        for mount in job.mounts:
            # Docker says so itself; Podman makes a folder.
            if not mount.source.exists():
                raise ContainerError(
                    f"{mount.source}: expected a file or folder for the container, found none; "
                    "put it back and run again"
                )
            if limited and not _UNQUOTED.isdisjoint(f"{mount.source}{mount.target}"):
                raise ContainerError(
                    f"{mount.source}: expected a path that Podman can mount, found one with a "
                    "comma or a quotation mark; move it, or use Docker"
                )

    def _is_podman(self) -> bool:
        components = self.api.version().get("Components") or ()
        return any("podman" in component["Name"].lower() for component in components)

    def _user(self) -> str:
        """The caller. An engine without root has mapped the container's root to them."""
        information = self.api.info()
        options = information.get("SecurityOptions") or ()
        # Docker says it there, Podman in a field of its own (older ones in that alone).
        if information.get("Rootless") or any("rootless" in option for option in options):
            return "0:0"
        return f"{os.getuid()}:{os.getgid()}"


def connect() -> Engine:
    """The engine that DOCKER_HOST names, else one at a usual socket.

    Raises:
        MissingToolError: the Python package docker is not installed, or no engine answers.
    """
    try:
        from docker import APIClient
        from docker.errors import DockerException
        from docker.utils import kwargs_from_env
    except ImportError as error:
        raise MissingToolError(
            "expected the Python package docker, found none; install it with `pip install docker`"
        ) from error
    settings: dict[str, Any] = kwargs_from_env()
    settings.setdefault("base_url", _usual_address())
    api = None
    try:
        # The constructor asks for the version already.
        api = APIClient(**settings, version="auto", timeout=_ANSWER_S)
        api.ping()
    except (DockerException, OSError) as error:
        if api is not None:
            api.close()
        raise MissingToolError(
            f"no container engine answers at {settings['base_url']}; {HOW_TO_START} ({error})"
        ) from error
    return Engine(api)


def _bind(mount: Mount) -> Any:
    from docker import types

    return types.Mount(str(mount.target), str(mount.source), "bind", read_only=mount.read_only)


def _usual_address() -> str:
    """The first socket that is there: the system's Docker, or an engine without root."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"))
    system = Path("/var/run/docker.sock")
    places = (
        system,
        runtime / "docker.sock",
        Path.home() / ".docker" / "run" / "docker.sock",
        runtime / "podman" / "podman.sock",
        Path("/run/podman/podman.sock"),
    )
    return f"unix://{next((place for place in places if place.exists()), system)}"
