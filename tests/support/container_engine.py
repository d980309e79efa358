"""A container engine for tests: the one that runs, else one that is started for them."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.container.engine import connect
from ptefoundry.errors import MissingToolError

_START_S = 60


class NoEngineError(Exception):
    """Why there is no engine for tests."""


@dataclass
class OwnEngine:
    """A dockerd of the tests' own, with everything that it keeps below one folder."""

    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self.folder}/socket"

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            NoEngineError: it does not start.
        """
        places = {
            "--data-root": "data",
            "--exec-root": "exec",
            "--pidfile": "pid",
        }
        options = [text for name, path in places.items() for text in (name, self.folder / path)]
        # In a network of its own: else its bridge would be the one of an engine that runs here,
        # which it would change or remove. Loopback is there for the tests' own servers.
        quiet = ("--iptables=false", "--log-level=error")
        alone = ("unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*alone, "dockerd", "--host", self.address, *options, *quiet],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_S
        while not engine_answers(self.address):
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = (self.folder / "log").read_text(errors="replace")[-500:]
                raise NoEngineError(f"dockerd does not start: {tail}")
            time.sleep(0.2)

    def beside(self, *command: str) -> list[str]:
        """A command that runs in the engine's network."""
        assert self.process is not None
        return ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", *command]

    def kill(self) -> None:
        """As if the machine's engine crashed; its containers go on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        # Containerd dies with it, but may be listed until somebody waits for it.
        (self.folder / "exec/containerd/containerd.pid").unlink(missing_ok=True)
        (self.folder / "pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """End it and all that it has started."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait()


def engine_answers(address: str | None = None) -> bool:
    """Whether an engine answers at an address, or where commands would look for one."""
    before = os.environ.get("DOCKER_HOST")
    if address is not None:
        os.environ["DOCKER_HOST"] = address
    try:
        with connect():
            return True
    except MissingToolError:
        return False
    finally:
        if address is not None:
            os.environ.pop("DOCKER_HOST")
            if before is not None:
                os.environ["DOCKER_HOST"] = before


def why_no_engine() -> str | None:
    """Why there can be no engine here; None if there is one, or one can be started."""
    if engine_answers():
        return None
    if shutil.which("dockerd") is None:
        return "no container engine is running or installed"
    if os.geteuid() != 0:
        return "no container engine is running, and only root may start one"
    return None


@contextmanager
def own_engine() -> Iterator[OwnEngine]:
    """An engine of the tests' own for the time of the block; needs root."""
    # A socket's path may have 104 bytes; pytest's folders have longer names.
    with tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as folder:
        engine = OwnEngine(Path(folder))
        try:
            engine.start()
            yield engine
        finally:
            engine.stop()
            unmount_below(Path(folder))


def unmount_below(folder: Path) -> None:
    """What an engine that was killed has left mounted."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted(mounts, reverse=True):
        if Path(mount).is_relative_to(folder):
            subprocess.run(["umount", "--lazy", mount], check=False)
