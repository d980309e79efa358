"""The runner as a process that answers requests; see docs/serve-stdio.md."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RUNNER = Path("artifacts/runner/bin/ptefoundry-runner")


class RunnerProcess:
    """Starts the runner of the workspace in the current folder."""

    def __init__(self, options: Sequence[str | Path], runner: Path = RUNNER) -> None:
        self._process = subprocess.Popen(
            [runner, "--serve-stdio", "--quiet", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ready = self._read()

    def ask(self, **request: Any) -> dict[str, Any]:
        """The last record that answers a request."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        while "text" in (record := self._read()):
            pass
        if "error" in record:
            raise SystemExit(record["error"])
        return record

    def quit(self) -> None:
        """End the process and wait for it."""
        self.ask(op="quit")
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the runner ended without an answer; run `make demo` first")
        record: dict[str, Any] = json.loads(line)
        return record
