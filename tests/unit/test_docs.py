"""What the documents show exists: commands, options, JSON, links."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from support.commands import check_command

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^(?:\$ )?(ptefoundry .*)$", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def _blocks(kind: str) -> list[Any]:
    return [
        pytest.param(text, id=f"{path.name}-{number}")
        for path in DOCUMENTS
        for number, (language, text) in enumerate(_BLOCK.findall(path.read_text()))
        if language == kind
    ]


@pytest.mark.parametrize("text", _blocks("json"))
def test_json_is_json(text: str) -> None:
    assert json.loads(text)


@pytest.mark.parametrize("text", [block for kind in ("", "sh") for block in _blocks(kind)])
def test_commands_and_options_exist(text: str) -> None:
    for line in _COMMAND.findall(text):
        check_command(shlex.split(line, comments=True))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(path: Path) -> None:
    for target in _LINK.findall(path.read_text()):
        assert (path.parent / target).exists(), target
