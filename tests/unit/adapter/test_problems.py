from pathlib import Path

import pytest

from ptefoundry.adapter.problems import Problem, enumerate_names, plain, refuse, show
from ptefoundry.errors import AdapterError


def problem(**changes):
    fields = {"file": "a.json", "field": "r", "found": "0", "supported": "1 and more"}
    return Problem(**{**fields, **changes})


def test_text_has_every_part():
    assert str(problem()) == "a.json: r: found 0; supported: 1 and more"


def test_no_problems_raise_nothing():
    assert refuse(Path("adapter"), []) is None


def test_all_problems_are_raised_together():
    with pytest.raises(AdapterError) as caught:
        refuse(Path("some/adapter"), [problem(), problem(field="x")])
    lines = str(caught.value).splitlines()
    assert lines[0] == "adapter some/adapter is refused:"
    assert lines[1:] == [f"- {problem()}", f"- {problem(field='x')}"]


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\ud800", "\x9b", "\u202e"])
def test_names_of_others_cannot_command_a_terminal(text):
    for shown in (plain(text), str(problem(field=text)), problem(found=text).found):
        assert shown.isprintable()
        assert shown.encode()
    assert enumerate_names([text]).isprintable()


def test_ordinary_text_stays_as_it_is():
    assert plain("modèle 日本語 [q_proj]") == "modèle 日本語 [q_proj]"


def test_long_values_are_shortened():
    assert show("x" * 1000).endswith("...")
    assert len(show(list(range(1000)))) < 130
    assert show({"a": None}) == '{"a": null}'
