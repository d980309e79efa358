"""The clients in clients/ as commands, and what they answer."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from support.skips import lacking

CLIENTS = Path(__file__).parents[2] / "clients"
_DEFAULTS = {"backends": "xnnpack", "adapter": "red", "runtime": "1.5.1"}


@dataclass(frozen=True)
class ReferenceClient:
    """A client and the folder of its device."""

    command: tuple[str, ...]
    registry: str = ""
    folder: Path = Path()

    def on(self, registry: str, folder: Path) -> "ReferenceClient":
        return replace(self, registry=registry, folder=folder)

    def run(self, command: str, reference: str, **options: Any) -> subprocess.CompletedProcess[str]:
        given = {"to": self.folder, **_DEFAULTS, **options}
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        return subprocess.run(
            [*self.command, command, self.registry, reference, *words],
            capture_output=True,
            text=True,
            check=False,
        )

    def answer(self, command: str, reference: str, **options: Any) -> dict[str, Any]:
        """What the command prints; it must succeed."""
        done = self.run(command, reference, **options)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def pull(self, reference: str, **options: Any) -> dict[str, Any]:
        return self.answer("pull", reference, **options)

    def refusal(self, reference: str, command: str = "pull", **options: Any) -> str:
        """Why the command refuses, `error (kind): text`; it must not succeed."""
        done = self.run(command, reference, **options)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert done.stderr.startswith("error ("), done.stderr
        return done.stderr


def python_client() -> ReferenceClient:
    return ReferenceClient((sys.executable, str(CLIENTS / "python" / "ptefoundry_client.py")))


def typescript_client(folder: Path) -> ReferenceClient:
    """Compile the client strictly, so that a wrong type is an error; else see `lacking`."""
    node, project = shutil.which("node"), CLIENTS / "typescript"
    compiler = project / "node_modules" / ".bin" / "tsc"
    # GitHub's machines have Node; nothing here installs it.
    if node is None:
        lacking(
            "clients/typescript: there is no node here; install Node 20 or newer",
            setting="GITHUB_ACTIONS",
        )
    if not compiler.exists():
        lacking(
            "clients/typescript: there is no compiler; run `npm ci` there",
            setting="GITHUB_ACTIONS",
        )
    command = [str(compiler), "--project", str(project), "--outDir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "package.json").write_text('{"type": "module"}')
    return ReferenceClient((node, str(folder / "ptefoundry-client.js")))
