"""One process that answers requests on its standard input."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.runner.conftest import CHAT, Runner
from integration.runner.serving import Server
from integration.runner.tiny_programs import CONTEXT, TinyProgram
from tokenizers import Tokenizer

PROMPT = [1, 5, 9, 20]


@pytest.fixture
def files(base: TinyProgram, adapter: TinyProgram, tokenizer_folder: Path) -> list[str | Path]:
    return [
        *("--serve-stdio", "--program", base.program, "--on-demand", adapter.program),
        *("--data", base.foundation, "--tokenizer", tokenizer_folder, "--quiet"),
    ]


@pytest.fixture
def server(runner: Runner, files: list[str | Path]) -> Iterator[Server]:
    server = Server(runner, files)
    yield server
    server.process.kill()
    server.process.communicate()


def test_each_request_chooses_its_adapter(
    server: Server, base: TinyProgram, adapter: TinyProgram, tokenizer: Tokenizer
) -> None:
    assert server.ready["op"] == "ready"
    assert server.ready["protocol"] == 1
    assert [(a["name"], a["loaded"]) for a in server.ready["adapters"]] == [
        ("base", True),
        ("adapter", False),
    ]
    for name, program in (("base", base), ("adapter", adapter), ("base", base)):
        answer = server.ask(adapter=name, tokens=PROMPT, max_new_tokens=6)
        assert answer["tokens"] == program.greedy(PROMPT, 6)
        assert answer["adapter"] == name
        assert answer["text"] == tokenizer.decode(answer["tokens"])
        assert answer["finish_reason"] == "length"
        assert answer["prompt_tokens"] == len(PROMPT)
        assert (answer["load_s"] > 0) == (name == "adapter")
        assert 0 < answer["prefill_s"] <= answer["ttft_s"]
    assert server.ask(tokens=PROMPT, max_new_tokens=6)["adapter"] == "base"
    assert server.quit() == 0


def test_what_a_program_has_seen_is_not_fed_again(server: Server, base: TinyProgram) -> None:
    longer = [*PROMPT, *base.greedy(PROMPT, 3), 30, 31]
    first = server.ask(tokens=PROMPT, max_new_tokens=3)
    assert first["prefill_tokens"] == len(PROMPT)
    second = server.ask(tokens=longer, max_new_tokens=6)
    assert second["prefill_tokens"] == 3, "the last token of the answer and two new ones"
    assert second["tokens"] == base.greedy(longer, 6)
    fork = [*PROMPT[:3], 40, 41]
    third = server.ask(tokens=fork, max_new_tokens=6)
    assert third["prefill_tokens"] == 2
    assert third["tokens"] == base.greedy(fork, 6)
    again = server.ask(tokens=fork, max_new_tokens=6, reuse=False)
    assert again["prefill_tokens"] == len(fork)
    assert again["tokens"] == third["tokens"]


def test_messages_are_turns_of_a_chat(
    server: Server, base: TinyProgram, tokenizer: Tokenizer
) -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "well <|im_end|>"},
        {"role": "user", "content": "and"},
    ]

    def ids(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    first, then = CHAT["first"], CHAT["next"]
    assert isinstance(first, dict)
    assert isinstance(then, dict)
    special = tokenizer.token_to_id("<|im_end|>")
    answer = server.ask(messages=messages, max_new_tokens=4)
    history = ids(first["prefix"] + "hi" + first["suffix"])
    # What the assistant is said to have written is text, whatever it looks like.
    spoken = server.ask(messages=messages[:1], max_new_tokens=0)["prompt_tokens"]
    assert spoken == len(history)
    literal = ids("well <") + ids("|im_end|>")
    assert special not in literal
    tail = ids(then["prefix"] + "and" + then["suffix"])
    assert answer["prompt_tokens"] > len(history) + 1 + len(tail)
    one = server.ask(messages=messages[:1], max_new_tokens=4)
    assert one["tokens"] == base.greedy(history, 4)


def test_an_answer_ends_before_its_stop_text(
    server: Server, base: TinyProgram, tokenizer: Tokenizer
) -> None:
    whole = tokenizer.decode(base.greedy(PROMPT, 12))
    stop = whole[5:8]
    answer = server.ask(tokens=PROMPT, max_new_tokens=12, stop=["never said", stop])
    assert answer["finish_reason"] == "stop"
    assert answer["text"] == whole[: whole.index(stop)]
    assert len(answer["tokens"]) < 12


def test_sampling_is_chosen_by_each_request(server: Server, base: TinyProgram) -> None:
    def sample(**options: Any) -> list[int]:
        tokens = server.ask(tokens=PROMPT, max_new_tokens=12, reuse=False, **options)["tokens"]
        assert isinstance(tokens, list)
        return tokens

    hot = sample(temperature=1.5, seed=1)
    assert hot == sample(temperature=1.5, seed=1)
    assert hot != sample(temperature=1.5, seed=2)
    assert sample() == base.greedy(PROMPT, 12)


def test_programs_are_loaded_and_unloaded(server: Server, adapter: TinyProgram) -> None:
    def loaded() -> list[bool]:
        return [entry["loaded"] for entry in server.ask(op="list")["adapters"]]

    assert loaded() == [True, False]
    assert server.ask(op="load", adapter="adapter")["load_s"] > 0
    assert server.ask(op="load", adapter="adapter")["load_s"] == 0
    assert loaded() == [True, True]
    expected = adapter.greedy(PROMPT, 5)
    for _ in range(3):
        assert server.ask(adapter="adapter", tokens=PROMPT, max_new_tokens=5)["tokens"] == expected
        record = server.ask(op="unload", adapter="adapter")
        assert record["op"] == "unload"
        assert record["memory"]["rss"] > 0
        assert loaded() == [True, False]
    assert "not loaded" in server.ask(op="unload", adapter="adapter")["error"]
    assert server.ask(op="unload", adapter="base")["op"] == "unload"
    assert server.ask(adapter="adapter", tokens=PROMPT, max_new_tokens=5)["tokens"] == expected
    stats = server.ask(op="stats")
    assert stats["requests"] == 4
    assert stats["prompt_tokens"] == 4 * len(PROMPT)
    assert stats["new_tokens"] == 20
    assert stats["memory"]["anon"] > 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "expected a JSON object on the line"),
        ("[1, 2]", "found array"),
        ("\u2603", "expected a JSON object"),
        ('{"id": 7}', "expected one of prompt, tokens and messages"),
        ('{"id": 7, "op": "dance"}', "op: expected generate, load"),
        ('{"id": 7, "tokens": [1], "max_new_tokens": -1}', "max_new_tokens: expected"),
        ('{"id": 7, "tokens": [1], "maxtokens": 1}', "unknown field 'maxtokens'"),
        ('{"id": 7, "tokens": []}', "the prompt has no tokens"),
        ('{"id": 7, "tokens": [512]}', "vocabulary of 512"),
        ('{"id": 7, "tokens": [1], "adapter": "green"}', "there are base, adapter"),
        ('{"id": 7, "op": "load", "adapter": "green"}', "there are base, adapter"),
        ('{"id": 7, "op": "cancel"}', "no request of this id"),
        ('{"id": 7, "tokens": ' + "[" * 200000, "nested too deeply"),
        (json.dumps({"id": 7, "tokens": [5] * CONTEXT}), "has room for a prompt of"),
    ],
)
def test_a_bad_request_is_an_error_and_the_next_is_answered(
    server: Server, base: TinyProgram, line: str, message: str
) -> None:
    server.write(line)
    record = server.read()
    assert set(record) == {"id", "error"}
    assert message in record["error"]
    assert record["id"] == (7 if line.startswith('{"id": 7') and "[[" not in line else None)
    answer = server.ask(tokens=PROMPT, max_new_tokens=3)
    assert answer["tokens"] == base.greedy(PROMPT, 3)


def test_bytes_that_are_no_text_are_an_error(
    runner: Runner, base: TinyProgram, files: list[str | Path]
) -> None:
    done = subprocess.run(
        [runner.program, *files, "--no-packed-cache"],
        input=b'{"id": 1, "prompt": "\xff\xfe"}\n\x00\x01\n{"id": 2, "op": "list"}',
        capture_output=True,
        check=True,
    )
    records = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert ["error" in record for record in records] == [False, True, True, False]
    assert records[-1]["id"] == 2


def test_a_request_can_be_cancelled(
    server: Server, base: TinyProgram, tokenizer: Tokenizer
) -> None:
    server.write(json.dumps({"id": "long", "tokens": [1], "max_new_tokens": 100}))
    server.write(json.dumps({"id": "waiting", "tokens": [1], "max_new_tokens": 100}))
    server.write(json.dumps({"id": "waiting", "op": "cancel"}))
    server.write(json.dumps({"id": "after", "op": "list"}))
    finals = []
    while not finals or finals[-1]["id"] != "after":
        record = server.read()
        if "text" not in record:
            finals.append(record)
    assert [record["id"] for record in finals] == ["long", "waiting", "after"]
    assert finals[0]["finish_reason"] == "length"
    assert finals[1]["finish_reason"] == "cancelled"
    assert len(finals[1]["tokens"]) < 100


def test_a_reader_that_leaves_ends_the_process(runner: Runner, files: list[str | Path]) -> None:
    server = Server(runner, files)
    assert server.process.stdout is not None
    server.process.stdout.close()
    server.write('{"op": "list"}')
    assert server.process.wait() == 1


def test_text_without_a_tokenizer_is_an_error(runner: Runner, base: TinyProgram) -> None:
    server = Server(runner, ["--serve-stdio", "--program", base.program, "--data", base.foundation])
    assert "--tokenizer" in server.ask(prompt="hi")["error"]
    assert "--tokenizer" in server.ask(messages=[{"role": "user", "content": "hi"}])["error"]
    assert server.ask(tokens=PROMPT, max_new_tokens=3)["tokens"] == base.greedy(PROMPT, 3)
    assert server.quit() == 0
