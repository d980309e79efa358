"""Running several rebuilds at the same time, where the machine has room for them."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ptefoundry.errors import ContainerError

Built = TypeVar("Built")

#: What a build takes besides what grows with the bundle: libraries, the exporter, compilers.
_BUILD_BYTES = 3 << 30
#: The base in fp32 as it is converted, as the reference, and as it is compared.
_COPIES = 4
_MEMORY = Path("/proc/meminfo")
_STOPPING_S = 1


def has_room(builds: int, bundle_bytes: int, *, memory: Path = _MEMORY) -> bool:
    """Whether this machine has a processor and enough free memory for each of the builds.

    Args:
        builds: how many there are.
        bundle_bytes: size of the bundle that each makes.
        memory: what Linux says of its memory; where there is no such file, there is no room.
    """
    needed = builds * (_BUILD_BYTES + _COPIES * bundle_bytes)
    return (os.cpu_count() or 1) >= builds and _available_bytes(memory) >= needed


def at_once(builds: Sequence[Callable[[], Built]], stop: Callable[[], None]) -> list[Built]:
    """Run builds in threads of their own; what they return, in order.

    If one fails or this process is interrupted, the others are stopped and waited for.

    Args:
        builds: each is called once.
        stop: ends what is running of them; is called until all have ended.

    Raises:
        Exception: that of the first build that failed.
    """
    with ThreadPoolExecutor(len(builds)) as pool:
        running = [pool.submit(build) for build in builds]
        try:
            done, _ = wait(running, return_when=FIRST_EXCEPTION)
            failed = [build for build in running if build in done and build.exception()]
            return [build.result() for build in failed or running]
        finally:
            # A build that is between two containers starts another one.
            while wait(running, timeout=0).not_done:
                # An engine that is lost fails the builds too, which say so.
                with suppress(ContainerError):
                    stop()
                wait(running, timeout=_STOPPING_S)


def _available_bytes(memory: Path) -> int:
    try:
        lines = memory.read_text().splitlines()
    except OSError:
        return 0
    found = dict(line.split(":", 1) for line in lines)
    return int(found.get("MemAvailable", "0 kB").split()[0]) << 10
