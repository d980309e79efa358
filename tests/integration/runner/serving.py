"""A runner that answers requests, as an app drives it."""

import json
import subprocess
from pathlib import Path
from typing import Any

from integration.runner.conftest import Runner


class Server:
    """A running process; each request is answered before the next is sent."""

    def __init__(self, runner: Runner, arguments: list[str | Path]) -> None:
        self.process = subprocess.Popen(
            [runner.program, *arguments, "--packed-cache", runner.cache],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self.ready = self.read()

    def write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, **request: Any) -> Any:
        """The last record of a request, its text put together from the deltas."""
        self.write(json.dumps({"id": 7, **request}))
        text = ""
        while "text" in (record := self.read()):
            assert record["id"] == 7
            text += record["text"]
        assert record["id"] == 7
        return record | {"text": text} if record.get("done") else record

    def quit(self) -> int:
        self.write('{"op": "quit"}')
        assert self.read() == {"id": None, "op": "quit"}
        return self.process.wait()
