"""The one error that ended a build, found in what DVC and the stage printed."""

import errno
import re
from collections.abc import Sequence
from pathlib import Path

from ptefoundry.errors import BuildError, FoundryError

_FAILED = re.compile(r"ERROR: failed to reproduce '(?P<stage>.+?)': (?P<reason>.*)")
_EXITED = re.compile(r", exited with (?P<code>-?\d+)$")
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Numbers of errors that say so."""
_MAKE_ROOM = (
    "make room, for instance with `dvc gc -w` or `ptefoundry cache prune`, then run again: what is "
    "finished is kept"
)
_FULL = re.compile(r"No space left on device|Disk quota exceeded|disk is full|no room on the disk")
_LOCKED = re.compile(r"Unable to acquire lock|is busy, it is being blocked by")
_ERROR, _DVC_ERROR = "error: ", "ERROR: "
_TAIL_LINES = 20


class StageFailedError(BuildError):
    """A stage failed; its own exit code goes on if it is one of ours."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        if exit_code in {kind.exit_code for kind in _kinds(FoundryError)} - {1}:
            self.exit_code = exit_code


def explain_failure(output: Sequence[str], *, root: Path, log: Path) -> BuildError:
    """The error to raise after DVC has failed.

    Args:
        output: lines since the last stage was announced.
        root: the workspace.
        log: where all of the output is.
    """
    text = "\n".join(output).rstrip()
    if _LOCKED.search(text):
        return BuildError(
            f"{root}: another build or DVC command is running here; wait for it and run again"
        )
    if _FULL.search(text):
        return _full_disk(output, log)
    for number, line in enumerate(output):
        failed = _FAILED.match(line)
        if failed is None:
            continue
        exited = _EXITED.search(text)
        if exited is None:
            return BuildError(
                f"stage {failed['stage']}: {failed['reason']}\nthe full output: {log}"
            )
        return _stage_error(failed["stage"], int(exited["code"]), output[:number], log)
    return BuildError(f"DVC failed: {_dvc_error(output)}\nthe full output: {log}")


def explain_os_error(error: OSError) -> str:
    """What to tell of an error of the system that nobody has explained."""
    if error.errno in DISK_FULL:
        return f"no room on the disk ({error}); {_MAKE_ROOM}"
    return str(error)


def _full_disk(output: Sequence[str], log: Path) -> BuildError:
    """Whoever met it: a stage, a compiler that it runs, or DVC."""
    failed = next((found for line in output if (found := _FAILED.match(line))), None)
    where = f"stage {failed['stage']}" if failed else "DVC"
    reason = next(line for line in reversed(output) if _FULL.search(line)).strip()
    return BuildError(
        f"{where}: no room on the disk ({reason}); {_MAKE_ROOM}\nthe full output: {log}"
    )


def _stage_error(stage: str, code: int, output: Sequence[str], log: Path) -> StageFailedError:
    if code < 0:
        reason = f"signal {-code}; the machine may have run out of memory"
        return StageFailedError(f"stage {stage} was stopped by {reason}\nits output: {log}", code)
    starts = [number for number, line in enumerate(output) if line.startswith(_ERROR)]
    if not starts:
        tail = "\n".join(output[-_TAIL_LINES:])
        text = f"its last lines:\n{tail}\nall of it: {log}"
    else:
        text = "\n".join(output[starts[-1] :]).removeprefix(_ERROR).rstrip()
    return StageFailedError(f"stage {stage} failed (exit code {code}): {text}", code)


def _dvc_error(output: Sequence[str]) -> str:
    starts = [number for number, line in enumerate(output) if line.startswith(_DVC_ERROR)]
    lines = output[starts[-1] :] if starts else output[-_TAIL_LINES:]
    return "\n".join(lines).removeprefix(_DVC_ERROR).rstrip()


def _kinds(kind: type[FoundryError]) -> set[type[FoundryError]]:
    return {kind}.union(*(_kinds(child) for child in kind.__subclasses__()))
