"""Several programs in one conversation."""

from pathlib import Path

import pytest
from integration.runner.conftest import Runner
from integration.runner.talk import LENGTH, Talk
from integration.runner.tiny_programs import TinyProgram
from tokenizers import Tokenizer


@pytest.fixture
def arguments(base: TinyProgram, adapter: TinyProgram, tokenizer_folder: Path) -> list[str | Path]:
    return [
        *("--chat", "--program", base.program, "--on-demand", adapter.program),
        *("--data", base.foundation, "--tokenizer", tokenizer_folder),
        *("--max-new-tokens", str(LENGTH)),
    ]


def test_a_conversation_goes_on_in_another_program(
    runner: Runner,
    base: TinyProgram,
    adapter: TinyProgram,
    tokenizer: Tokenizer,
    arguments: list[str | Path],
) -> None:
    talk = Talk(tokenizer)
    expected = [
        talk.ask(program, user)
        for program, user in ((base, "hi"), (adapter, "and"), (adapter, "so"), (base, "yes"))
    ]
    done = runner.run(
        *arguments, stdin="hi\n/adapter adapter\nand\nso\n/adapter base\nyes\n/adapters\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(f"{answer}\n" for answer in expected)
    assert "adapter: loaded in " in done.stderr
    assert "base> " in done.stderr
    assert "adapter> " in done.stderr
    [there, back] = [line for line in done.stderr.splitlines() if "fed in" in line]
    assert there.endswith(" 0 known")
    assert "loaded in" not in back
    assert not back.endswith(" 0 known")
    assert "* base\n" in done.stderr


def test_a_conversation_can_be_left_behind(
    runner: Runner,
    base: TinyProgram,
    adapter: TinyProgram,
    tokenizer: Tokenizer,
    arguments: list[str | Path],
) -> None:
    expected = [
        Talk(tokenizer).ask(base, "hi"),
        Talk(tokenizer).ask(adapter, "and"),
        Talk(tokenizer).ask(adapter, "so"),
    ]
    done = runner.run(
        *(*arguments, "--quiet"), stdin="hi\n/adapter adapter --clear\nand\n/clear\nso\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == "".join(f"{answer}\n" for answer in expected)


def test_an_unknown_adapter_changes_nothing(
    runner: Runner, base: TinyProgram, tokenizer: Tokenizer, arguments: list[str | Path]
) -> None:
    talk = Talk(tokenizer)
    expected = [talk.ask(base, "hi"), talk.ask(base, "and")]
    done = runner.run(*arguments, stdin="hi\n/adapter green\nand\n/adapters\n")
    assert done.returncode == 1
    assert "there is no adapter 'green'; there are base, adapter" in done.stderr
    assert "  adapter (not loaded)\n" in done.stderr
    assert "error: 1 line was refused" in done.stderr
    assert done.stdout == "".join(f"{answer}\n" for answer in expected)


def test_an_adapter_that_cannot_be_loaded_changes_nothing(
    runner: Runner,
    base: TinyProgram,
    adapter: TinyProgram,
    tokenizer: Tokenizer,
    arguments: list[str | Path],
    tmp_path: Path,
) -> None:
    cut = tmp_path / "cut.pte"
    cut.write_bytes(adapter.program.read_bytes()[:-1000])
    talk = Talk(tokenizer)
    expected = [talk.ask(base, "hi"), talk.ask(base, "and")]
    done = runner.run(*(*arguments, "--on-demand", cut), stdin="hi\n/adapter cut\nand\n")
    assert done.returncode == 1
    assert f"{cut}: the header promises " in done.stderr
    assert done.stdout == "".join(f"{answer}\n" for answer in expected)


def test_commands_are_not_messages(
    runner: Runner, base: TinyProgram, tokenizer: Tokenizer, arguments: list[str | Path]
) -> None:
    talk = Talk(tokenizer)
    expected = [talk.ask(base, "hi"), talk.ask(base, "/path")]
    lists, typos = ("/adapter", "/adapter "), ("/adaptor adapter", "/clearly")
    lines = ("hi", *lists, *typos, "//path", "/exit ", "so")
    done = runner.run(*arguments, stdin="".join(f"{line}\n" for line in lines))
    assert done.returncode == 1
    assert done.stdout == "".join(f"{answer}\n" for answer in expected)
    assert done.stderr.count("* base\n  adapter (not loaded)\n") == 2
    for command in typos:
        assert f"there is no command '{command}'; there are /adapter NAME" in done.stderr
    assert "error: 2 lines were refused" in done.stderr


def test_blanks_around_a_name_do_not_matter(
    runner: Runner,
    base: TinyProgram,
    adapter: TinyProgram,
    tokenizer: Tokenizer,
    arguments: list[str | Path],
) -> None:
    expected = [Talk(tokenizer).ask(base, "hi"), Talk(tokenizer).ask(adapter, "and")]
    done = runner.run(
        *(*arguments, "--quiet"), stdin="hi\n/adapter  adapter  --clear \nand\n/adapter base \n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "".join(f"{answer}\n" for answer in expected)
