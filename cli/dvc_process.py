"""`python -m ptefoundry.cli.dvc_process ...`: `dvc ...`, but fast with hundreds of stages.

What differs is how dvc.lock is written: the same text, in pieces (`lock_pieces`) and at once,
where DVC would leave half a file if it were killed; that no file is parsed twice; and the
shortcuts of `dvc_shortcuts`.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .dvc_parsing import parsed_once
from .dvc_shortcuts import shortcuts
from .lock_pieces import LockPieces, OtherFormError


def main() -> None:
    """Be DVC."""
    from dvc.cli import main as run_dvc
    from dvc.dvcfile import Lockfile

    write_pieces(Lockfile)
    with parsed_once(), shortcuts():
        sys.exit(run_dvc(sys.argv[1:]))


def write_pieces(lockfile: Any) -> None:
    """Let DVC's `Lockfile` write the stages that have changed, and copy the others."""
    whole = lockfile.dump_stages

    def dump_stages(self: Any, stages: Sequence[Any], **options: Any) -> None:
        try:
            _dump_pieces(self, stages, options)
        except OtherFormError:
            whole(self, stages, **options)

    lockfile.dump_stages = dump_stages


def _dump_pieces(lock: Any, stages: Sequence[Any], options: dict[str, Any]) -> None:
    from dvc.stage.serialize import to_lockfile

    path = Path(lock.path)
    to_entry: Callable[..., dict[str, Any]] = to_lockfile
    pieces = LockPieces.read(path)
    entries = {
        name: entry for stage in stages for name, entry in to_entry(stage, **options).items()
    }
    if pieces.put(entries):
        pieces.write(path)
        lock.repo.scm_context.track_file(lock.relpath)


if __name__ == "__main__":
    main()
