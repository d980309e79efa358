"""Podman's service for tests, with everything that it keeps below one folder."""

import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.container_engine import NoEngineError, engine_answers, unmount_below

_START_S = 60
#: Podman gives containers more than this unless told, which takes a right that root may lack.
_LIMITS = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
_MOST = 30_000


@contextmanager
def own_podman() -> Iterator[str]:
    """The address of a service for the time of the block.

    Raises:
        NoEngineError: Podman is not installed, or does not start.
    """
    if shutil.which("podman") is None:
        raise NoEngineError("podman is not installed")
    # A socket's path may have 104 bytes; pytest's folders have longer names.
    with tempfile.TemporaryDirectory(prefix="podman-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        process = _start(folder)
        try:
            _wait(process, folder)
            yield _address(folder)
        finally:
            process.terminate()
            process.wait()
            unmount_below(folder)


def _start(folder: Path) -> "subprocess.Popen[bytes]":
    limits = [f'"{name}={_limit(number)}"' for name, number in _LIMITS.items()]
    settings = folder / "containers.conf"
    settings.write_text(f"[containers]\ndefault_ulimits = [{', '.join(limits)}]\n")
    places = ("--root", folder / "data", "--runroot", folder / "run")
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            ["podman", *places, "system", "service", "--time=0", _address(folder)],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CONTAINERS_CONF": str(settings)},
            stdout=log,
            stderr=log,
        )


def _address(folder: Path) -> str:
    return f"unix://{folder}/socket"


def _limit(number: int) -> str:
    """Soft and hard; what is unlimited here is limited there."""
    allowed = (value for value in resource.getrlimit(number) if value != resource.RLIM_INFINITY)
    most = min([_MOST, *allowed])
    return f"{most}:{most}"


def _wait(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    deadline = time.monotonic() + _START_S
    while not engine_answers(_address(folder)):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = (folder / "log").read_text(errors="replace")[-500:]
            raise NoEngineError(f"podman does not start: {tail}")
        time.sleep(0.2)
