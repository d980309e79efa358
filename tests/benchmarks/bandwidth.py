"""How fast this machine reads memory."""

import json
import os
import statistics
from pathlib import Path

from measure import output

SOURCE = Path(__file__).with_suffix(".cpp")
BYTES, PASSES = 512 << 20, 10


class Bandwidth:
    """Measured whenever it is asked for; the median counts."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Compile the program that measures into a folder."""
        self._program = folder / "bandwidth"
        self._threads = threads
        self._passes: list[float] = []
        compiler = os.environ.get("CXX", "g++")
        flags = ["-O3", "-march=native", "-std=c++17", "-pthread"]
        output([compiler, *flags, "-o", self._program, SOURCE])

    def measure(self) -> None:
        """Read a buffer a few times."""
        self._passes += json.loads(
            output([self._program, str(BYTES), str(self._threads), str(PASSES)])
        )

    @property
    def median(self) -> float:
        """Bytes per second, all threads together."""
        return statistics.median(self._passes)
