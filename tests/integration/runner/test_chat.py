"""Conversations that go on in the KV cache."""

from pathlib import Path

import pytest
from integration.runner.conftest import CHAT, Runner
from integration.runner.tiny_programs import TinyProgram
from tokenizers import Tokenizer

ANSWER_LENGTH = 5


@pytest.fixture
def arguments(base: TinyProgram, tokenizer_folder: Path) -> list[str | Path]:
    return [
        *("--chat", "--program", base.program, "--data", base.foundation),
        *("--tokenizer", tokenizer_folder, "--max-new-tokens", str(ANSWER_LENGTH), "--quiet"),
    ]


def eager_answers(program: TinyProgram, tokenizer: Tokenizer, turns: list[str]) -> list[str]:
    """What the program answers when it sees the whole conversation each time."""
    history: list[int] = []
    answers = []
    for index, user in enumerate(turns):
        piece = CHAT["next" if index else "first"]
        assert isinstance(piece, dict)
        text = piece["prefix"] + user + piece["suffix"]
        history += tokenizer.encode(text, add_special_tokens=False).ids
        answer = program.greedy(history, ANSWER_LENGTH)
        assert 0 not in answer, "the eager model must not end its turn"
        history += answer
        answers.append(tokenizer.decode(answer))
    return answers


def test_later_turns_see_the_earlier_ones(
    runner: Runner, base: TinyProgram, tokenizer: Tokenizer, arguments: list[str | Path]
) -> None:
    turns = ["hi", "and", "so"]
    done = runner.run(*arguments, stdin="".join(f"{turn}\n" for turn in turns))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    expected = eager_answers(base, tokenizer, turns)
    assert done.stdout == "".join(f"{answer}\n" for answer in expected)


def test_reset_forgets_and_exit_ends(
    runner: Runner, base: TinyProgram, tokenizer: Tokenizer, arguments: list[str | Path]
) -> None:
    done = runner.run(*arguments, stdin="hi\n/reset\n\nhi\n/exit\nmore\n")
    assert done.returncode == 0
    [answer] = eager_answers(base, tokenizer, ["hi"])
    assert done.stdout == f"{answer}\n{answer}\n"


def test_a_turn_that_does_not_fit_is_refused_and_the_chat_goes_on(
    runner: Runner, base: TinyProgram, tokenizer: Tokenizer, arguments: list[str | Path]
) -> None:
    done = runner.run(*arguments, stdin="hi\n" + "long " * 100 + "\nand\n")
    assert done.returncode == 1
    assert "has room for a prompt of" in done.stderr
    assert "/clear starts anew" in done.stderr
    assert "error: 1 line was refused" in done.stderr
    expected = eager_answers(base, tokenizer, ["hi", "and"])
    assert done.stdout == "".join(f"{answer}\n" for answer in expected)


def test_a_chat_prompt_is_the_first_turn_of_a_chat(
    runner: Runner, base: TinyProgram, tokenizer: Tokenizer, tokenizer_folder: Path
) -> None:
    report = runner.json(
        *("--program", base.program, "--data", base.foundation, "--tokenizer", tokenizer_folder),
        *("--prompt", "hi", "--chat-template", "--max-new-tokens", str(ANSWER_LENGTH), "--json"),
    )
    [answer] = report["programs"]
    assert [answer["text"]] == eager_answers(base, tokenizer, ["hi"])
