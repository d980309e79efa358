import difflib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ptefoundry.cli.params_file import remove_adapter, set_adapter
from ptefoundry.cli.sources import Pinned
from ptefoundry.errors import ConfigError

_GREEN = Pinned(source="file:models/green", digest="a" * 64)


def _changes(old: str, new: str) -> list[str]:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0)
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


def test_adding_changes_no_other_line(workspace: Path) -> None:
    path = workspace / "params.yaml"
    before = path.read_text()
    set_adapter(workspace, "green", _GREEN)
    assert _changes(before, path.read_text()) == [
        "+  green:",
        "+    source: file:models/green",
        "+    digest: " + "a" * 64,
    ]


def test_replacing_keeps_the_place(workspace: Path) -> None:
    path = workspace / "params.yaml"
    before = path.read_text()
    set_adapter(workspace, "red", Pinned(source="file:other", digest=None))
    assert _changes(before, path.read_text()) == [
        "-    source: file:models/red",
        "+    source: file:other",
    ]


def test_removing_undoes_adding(workspace: Path) -> None:
    path = workspace / "params.yaml"
    before = path.read_text()
    set_adapter(workspace, "green", _GREEN)
    remove_adapter(workspace, "green")
    assert path.read_text() == before


def test_removing_the_first_changes_no_other_line(workspace: Path) -> None:
    path = workspace / "params.yaml"
    before = path.read_text()
    remove_adapter(workspace, "red")
    assert _changes(before, path.read_text()) == ["-  red:", "-    source: file:models/red"]


def test_last_adapter_leaves_an_empty_section(workspace: Path) -> None:
    remove_adapter(workspace, "red")
    remove_adapter(workspace, "blue")
    text = (workspace / "params.yaml").read_text()
    assert "# One section for each.\nadapters: {}\n\nbackends:" in text
    set_adapter(workspace, "green", _GREEN)
    assert "adapters:\n  green:\n" in (workspace / "params.yaml").read_text()


@pytest.mark.parametrize(
    "section",
    [
        "adapters: {}  # none yet\n",
        "adapters:\n",
        "adapters: {red: {source: file:red}}\n",
        "adapters:\n    red:\n        source: file:red\n    # the end\n\n# next\n",
        "adapters:\n  red: {source: file:red}",
        "adapters:\n  8:\n    source: file:red\n",
    ],
)
def test_every_form_of_the_section_can_be_changed(tmp_path: Path, section: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"bundle:\n  name: a\n{section}")
    before = YAML(typ="safe").load(path.read_text())
    set_adapter(tmp_path, "green", _GREEN)
    after = YAML(typ="safe").load(path.read_text())
    assert after["adapters"].pop("green") == {"source": _GREEN.source, "digest": _GREEN.digest}
    assert after["adapters"] == (before["adapters"] or {})
    remove_adapter(tmp_path, "green")
    assert (YAML(typ="safe").load(path.read_text())["adapters"] or {}) == after["adapters"]


def test_comments_of_the_section_stay(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("adapters: {}  # none yet\n# what follows\nbundle: {}\n")
    set_adapter(tmp_path, "green", Pinned(source="file:green", digest=None))
    assert path.read_text() == (
        "adapters:  # none yet\n  green:\n    source: file:green\n# what follows\nbundle: {}\n"
    )


def test_numbers_are_names_too(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("adapters:\n  8:\n    source: a\n  b:\n    source: c\n")
    remove_adapter(tmp_path, "8")
    assert (tmp_path / "params.yaml").read_text() == "adapters:\n  b:\n    source: c\n"


def test_unknown_adapter_is_refused_with_those_known(workspace: Path) -> None:
    with pytest.raises(ConfigError, match="'green', found only: red, blue"):
        remove_adapter(workspace, "green")


def test_a_form_that_lines_cannot_change_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text = "{adapters: {red: {source: a}}, bundle: {name: b}}\n"
    path.write_text(text)
    with pytest.raises(ConfigError, match="write it as a block"):
        set_adapter(tmp_path, "green", _GREEN)
    assert path.read_text() == text
