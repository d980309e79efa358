"""Running other programs: the command is shown, its failure is our error."""

import logging
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ptefoundry.errors import BuildError, MissingToolError

_log = logging.getLogger(__name__)
_TAIL_LINES = 20


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input_text: str | None = None,
) -> str:
    """Run a program to its end and return what it printed to stdout.

    `env` is added to this process's environment.

    Raises:
        MissingToolError: there is no such program.
        BuildError: it exited with something else than 0; the text ends with the
            last lines it printed.
    """
    words = [str(word) for word in command]
    _log.info("$ %s", shlex.join(words))
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=input_text,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise MissingToolError(
            f"expected the program {words[0]!r}, found none; "
            "`ptefoundry doctor` says how to install it"
        ) from error
    if done.returncode != 0:
        raise BuildError(
            f"`{shlex.join(words)}` exited with {done.returncode}; its last lines:\n"
            + _tail(done.stdout + done.stderr)
        )
    return done.stdout


def _tail(text: str) -> str:
    return "\n".join(text.rstrip().splitlines()[-_TAIL_LINES:])
