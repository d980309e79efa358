"""What `ptefoundry build --container` runs in the container.

    python -m ptefoundry.cli.in_container toolchain
    python -m ptefoundry.cli.in_container repro [STAGE...]

The first prints the toolchain that is in there, as JSON; the second is `dvc repro` as a
build runs it, its output as it is. It stops when it is interrupted, and when stdin closes:
then whoever started the container is gone.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

from ptefoundry.toolchain import current_toolchain

from .repro import dvc_running, signals_interrupt

_INTERRUPTED = 130


def main() -> None:
    """Do what the arguments say."""
    task, *targets = sys.argv[1:]
    if task == "toolchain":
        print(json.dumps(current_toolchain()))
        return
    try:
        sys.exit(_repro(targets))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _repro(targets: Sequence[str]) -> int:
    """DVC's exit code."""
    with signals_interrupt(), dvc_running(Path.cwd(), targets) as dvc:
        Thread(target=_interrupt_when_alone, daemon=True).start()
        assert dvc.stdout is not None
        for line in dvc.stdout:
            print(line, end="", flush=True)
        return dvc.wait()


def _interrupt_when_alone() -> None:
    # Not through sys.stdin, which must not be in use when this process ends.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()
