"""Pieces of dvc.lock are the text that DVC itself writes."""

import shutil
from collections import OrderedDict
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ptefoundry.cli.dvc_files import output_size
from ptefoundry.cli.dvc_process import write_pieces
from ptefoundry.cli.lock_pieces import LOCK_FILE, LockPieces, OtherFormError

REAL = Path(__file__).parents[3] / LOCK_FILE
ENTRIES = {
    "plain": OrderedDict(cmd="python -m x", outs=[OrderedDict(path="a", md5="0" * 32, size=7)]),
    "folded@a-b": {"cmd": "word " * 60, "deps": [{"path": "p" * 120}]},
    "texts": {"cmd": "ünï: 'x' # no", "params": {"params.yaml": {"a.b": ["1", "", "- x", "é 🙂"]}}},
    "values": {"cmd": "x", "params": {"f": {"a": None, "b": [], "c": {}, "d": 1.0, "e": True}}},
    "lines": {"cmd": "one\ntwo\n\nthree\n", "outs": []},
}


def dvc_writes(path: Path, entries: dict[str, Any]) -> None:
    """As `Lockfile.dump_stages` of DVC does it."""
    from dvc.utils.serialize import modify_yaml

    with modify_yaml(path) as data:
        if not data:
            data.update({"schema": "2.0"})
        data["stages"] = data.get("stages", {})
        data["stages"].update(entries)


def ours_writes(path: Path, entries: dict[str, Any]) -> bool:
    pieces = LockPieces.read(path)
    changed = pieces.put(entries)
    pieces.write(path)
    return changed


@pytest.mark.parametrize("name", [name for name in ENTRIES if name != "lines"])
@pytest.mark.parametrize("existing", [True, False])
def test_an_entry_is_written_as_by_dvc(tmp_path: Path, name: str, existing: bool) -> None:
    paths = tmp_path / "theirs", tmp_path / "ours"
    for path, write in zip(paths, (dvc_writes, ours_writes), strict=True):
        if existing:
            shutil.copy(REAL, path)
        write(path, {name: ENTRIES[name]})
        write(path, {"bundle": ENTRIES["plain"]})
        # Copies: one object twice would be an alias in YAML.
        write(path, {name: deepcopy(ENTRIES["plain"]), "last": deepcopy(ENTRIES[name])})
    theirs, ours = (path.read_text() for path in paths)
    assert ours == theirs
    assert LockPieces.read(paths[1]).get("last") == ENTRIES[name]


def test_what_does_not_change_is_told(tmp_path: Path) -> None:
    path = Path(shutil.copy(REAL, tmp_path / "lock"))
    entry = LockPieces.read(path).get("bundle")
    assert not ours_writes(path, {"bundle": entry})
    assert path.read_bytes() == REAL.read_bytes()
    assert ours_writes(path, {"bundle": ENTRIES["plain"]})
    assert LockPieces.read(path).get("nothing") is None


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\nschema: '2.0'\nstages: {}\n",
        "schema: '2.0'\nstages:\n  a:\n    cmd: x\ndatasets: []\n",
        "schema: '2.0'\nstages:\n  a:\n    cmd: x\n\n  b:\n    cmd: y\n",
        "schema: '2.0'\nstages:\n  a:\n    cmd: x\n  a:\n    cmd: y\n",
        "schema: '2.0'\nstages:\n  'a b':\n    cmd: x\n",
        "schema: '2.0'\nstages:\n  a:\n    cmd: cut",
        "schema: '2.0'\nstages:\n  a: {cmd: x}\n",
    ],
)
def test_other_forms_are_left_to_dvc(tmp_path: Path, text: str) -> None:
    path = tmp_path / LOCK_FILE
    path.write_text(text)
    with pytest.raises(OtherFormError):
        LockPieces.read(path)


@pytest.mark.parametrize("entry", [ENTRIES["lines"]])
def test_dvc_writes_what_has_another_form(tmp_path: Path, entry: dict[str, Any]) -> None:
    """Whatever an entry has: the file is what DVC would have written."""
    path = tmp_path / LOCK_FILE
    calls: list[list[Any]] = []

    class Lockfile:
        relpath = LOCK_FILE
        repo = SimpleNamespace(scm_context=SimpleNamespace(track_file=lambda _path: None))

        def __init__(self) -> None:
            self.path = str(path)

        def dump_stages(self, stages: list[Any]) -> None:
            calls.append(stages)

    write_pieces(Lockfile)
    path.write_text("schema: '2.0'\n")
    stages = [SimpleNamespace(name="lines", entry=entry)]
    Lockfile().dump_stages(stages)
    assert calls == [stages]


def test_sizes_are_those_of_the_outputs(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_bytes(REAL.read_bytes())
    assert output_size(tmp_path, "foundation@xnnpack") > 500_000_000
    assert output_size(tmp_path, "no-such-stage") == 0
    # Of another form, though YAML.
    (tmp_path / LOCK_FILE).write_text(f"# by hand\n{REAL.read_text()}")
    assert output_size(tmp_path, "foundation@xnnpack") > 500_000_000
