"""dvc.lock as pieces of text, one for each stage, as DVC writes it.

DVC parses the whole file and writes it anew whenever a stage has run. That takes seconds of a
file with some hundred stages, and hours of a build of some hundred adapters; a piece takes
none.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ptefoundry.files import write_text

LOCK_FILE = "dvc.lock"
_HEAD = "schema: '2.0'\nstages:\n"
_STAGE = re.compile(r"^  ([A-Za-z0-9][\w@.-]*):\n", re.MULTILINE)
_INNER = re.compile(r"(?:    .*\n)+")


class OtherFormError(Exception):
    """A lock file that DVC did not write, or that has more than stages."""


class LockPieces:
    """The stages of a dvc.lock in their order."""

    def __init__(self, pieces: dict[str, str]) -> None:
        """`pieces`: stage -> its lines, the one with its name first."""
        self._pieces = pieces

    @classmethod
    def read(cls, path: Path) -> "LockPieces":
        """The pieces of a file; none of a file that is missing or empty.

        Raises:
            OtherFormError: it is not as DVC writes it.
        """
        text = path.read_text() if path.is_file() else ""
        if not text:
            return cls({})
        if not text.startswith(_HEAD):
            raise OtherFormError
        # Odd: names. Even: what follows them.
        first, *parts = _STAGE.split(text[len(_HEAD) :])
        names, inner = parts[::2], parts[1::2]
        if first or len(set(names)) < len(names) or not all(map(_INNER.fullmatch, inner)):
            raise OtherFormError
        return cls({name: f"  {name}:\n{lines}" for name, lines in zip(names, inner, strict=True)})

    def get(self, stage: str) -> dict[str, Any] | None:
        """What the file has of a stage; None if it has nothing."""
        from ruamel.yaml import YAML

        if stage not in self._pieces:
            return None
        found: dict[str, Any] = YAML(typ="safe").load(self._pieces[stage])[stage]
        return found

    def put(self, stages: dict[str, Any]) -> bool:
        """Replace stages, or add them at the end; tells whether anything is different now.

        Args:
            stages: name -> what DVC notes of its run.

        Raises:
            OtherFormError: a name is not plain.
        """
        changed = False
        for name, data in stages.items():
            piece = _dump(name, data)
            changed |= self._pieces.get(name) != piece
            self._pieces[name] = piece
        return changed

    def write(self, path: Path) -> None:
        """Write the file anew, at once."""
        write_text(path, _HEAD + "".join(self._pieces.values()))


def _dump(name: str, data: Any) -> str:
    """As DVC's own YAML writer has it: where lines are folded depends on how deep they are."""
    from dvc.utils.serialize import dumps_yaml

    head, _, piece = dumps_yaml({"stages": {name: data}}).partition("\n")
    if head != "stages:" or not _STAGE.match(piece):
        raise OtherFormError
    return str(piece)


def total_size(stage: dict[str, Any] | None) -> int:
    """Bytes of the outputs of a stage, as dvc.lock has it."""
    outputs: Iterable[dict[str, Any]] = (stage or {}).get("outs", ())
    return sum(out.get("size", 0) for out in outputs)
