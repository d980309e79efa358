"""Programs over one foundation, answering as their eager models do."""

import array
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from integration.runner.conftest import CHAT, EOS_PROMPTS, Runner
from integration.runner.tiny_programs import CHUNK, CONTEXT, VOCAB, TinyProgram
from tokenizers import Tokenizer

LOGITS_TOLERANCE = 1e-4

PROMPTS = [
    [1],
    [1, 5, 9, 20],
    [7] * CHUNK,
    list(range(3, 3 + CHUNK + 1)),
    list(range(100, 100 + 2 * CHUNK)),
    [(i * 37) % VOCAB for i in range(45)],
]


@pytest.fixture
def prompt_file(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps([{"tokens": prompt} for prompt in PROMPTS]))
    return path


def both(base: TinyProgram, adapter: TinyProgram) -> list[str | Path]:
    return [
        *("--program", base.program, "--program", adapter.program),
        *("--data", base.foundation),
    ]


def one(program: TinyProgram) -> list[str | Path]:
    return ["--program", program.program, "--data", program.foundation]


def tokens_of(report: Any) -> list[list[int]]:
    return [answer["tokens"] for answer in report["programs"]]


def test_programs_over_one_foundation_answer_like_eager(
    runner: Runner, base: TinyProgram, adapter: TinyProgram, prompt_file: Path, tmp_path: Path
) -> None:
    logits = tmp_path / "logits"
    report = runner.json(
        *both(base, adapter),
        *("--prompt-file", prompt_file, "--max-new-tokens", "12", "--json"),
        *("--logits-out", logits),
    )
    answers = iter(report["programs"])
    for p, program in enumerate((base, adapter)):
        for q, prompt in enumerate(PROMPTS):
            answer = next(answers)
            assert answer["program"] == str(program.program)
            assert answer["prompt_tokens"] == prompt
            assert answer["prefill_tokens"] == len(prompt)
            assert answer["tokens"] == program.greedy(prompt, 12)
            assert answer["finish_reason"] == "length"
            found = array.array("f", (logits / f"{p}-{q}.f32").read_bytes())
            difference = torch.tensor(found) - program.logits(prompt)
            assert difference.abs().max() < LOGITS_TOLERANCE
    assert list(answers) == []
    assert tokens_of(report)[: len(PROMPTS)] != tokens_of(report)[len(PROMPTS) :]


def ended(answer: list[int], eos_ids: list[int]) -> list[int]:
    """The answer up to the first end-of-sequence token."""
    ends = [index for index, token in enumerate(answer) if token in eos_ids]
    return answer[: ends[0] + 1] if ends else answer


def test_programs_of_other_exporters_run_without_optional_constants(
    runner: Runner, plain: TinyProgram
) -> None:
    for prompt in PROMPTS:
        report = runner.json(*one(plain), "--tokens", ",".join(map(str, prompt)), "--json")
        [answer] = report["programs"]
        expected = plain.greedy(prompt, CONTEXT - len(prompt))
        assert answer["tokens"] == ended(expected, plain.constants["get_eos_ids"])


@pytest.mark.parametrize("index", [0, 1])
def test_each_end_of_sequence_token_of_a_program_ends_an_answer(
    runner: Runner, plain: TinyProgram, index: int
) -> None:
    eos_ids = plain.constants["get_eos_ids"]
    prompt = EOS_PROMPTS[index]
    report = runner.json(*one(plain), "--tokens", str(prompt[0]), "--json")
    [answer] = report["programs"]
    assert answer["tokens"][-1] == eos_ids[index]
    assert answer["tokens"] == ended(plain.greedy(prompt, 12), eos_ids)
    assert answer["finish_reason"] == "eos"


def test_end_of_sequence_tokens_of_the_chat_end_an_answer_too(
    runner: Runner, base: TinyProgram, tokenizer_folder: Path, tokenizer: Tokenizer
) -> None:
    answer = base.greedy(PROMPTS[1], 8)
    stop = answer[3]
    assert stop not in answer[:3]
    (tokenizer_folder / "chat.json").write_text(json.dumps(CHAT | {"eos_token_ids": [500, stop]}))
    report = runner.json(
        *(*one(base), "--tokens", "1,5,9,20", "--tokenizer", tokenizer_folder, "--json")
    )
    [found] = report["programs"]
    assert found["tokens"] == answer[:4]
    assert found["finish_reason"] == "eos"
    assert found["text"] == tokenizer.decode(answer[:3])


def test_text_streams_under_a_line_for_each_answer(
    runner: Runner, base: TinyProgram, adapter: TinyProgram, tokenizer_folder: Path
) -> None:
    arguments = [
        *(*both(base, adapter), "--tokenizer", tokenizer_folder),
        *("--prompt", "The quick", "--prompt", "brown 狐", "--max-new-tokens", "9"),
    ]
    report = runner.json(*arguments, "--json")
    done = runner.run(*arguments)
    assert done.returncode == 0
    expected = "".join(
        f"=== {answer['name']}: {answer['prompt']}\n{answer['text']}\n"
        for answer in report["programs"]
    )
    assert done.stdout == expected
    assert "base: loaded in" in done.stderr
    assert done.stderr.count("tok/s, stopped by length") == 4
    quiet = runner.run(*arguments, "--quiet")
    assert quiet.stderr == ""
    assert quiet.stdout == "".join(f"{answer['text']}\n" for answer in report["programs"])


def test_the_report_has_every_field(
    runner: Runner, base: TinyProgram, adapter: TinyProgram, tokenizer_folder: Path
) -> None:
    report = runner.json(
        *(*both(base, adapter), "--tokenizer", tokenizer_folder, "--prompt", "The quick"),
        *("--max-new-tokens", "5", "--json"),
    )
    assert set(report) == {"runner", "foundation", "data_files", "packed_cache", "programs"}
    assert report["runner"]["executorch"].startswith("1.")
    assert report["foundation"] == str(base.foundation)
    assert [answer["name"] for answer in report["programs"]] == ["base", "adapter"]
    for answer in report["programs"]:
        assert answer["prompt"] == "The quick"
        assert 0 < answer["prefill_s"] <= answer["ttft_s"]
        rates = ("load_s", "prefill_tok_s", "decode_tok_s", "decode_s")
        assert all(answer[rate] > 0 for rate in rates)
        for when in ("load", "generate"):
            rss, anonymous, pss = (answer[f"{k}_after_{when}"] for k in ("rss", "anon", "pss"))
            assert 0 < anonymous < rss
            assert 0 < pss <= rss


def test_every_way_to_load_gives_the_same_tokens(
    runner: Runner, base: TinyProgram, adapter: TinyProgram, prompt_file: Path, tmp_path: Path
) -> None:
    arguments = [*both(base, adapter), "--prompt-file", prompt_file, "--json"]
    arguments += ["--max-new-tokens", "8"]
    expected = tokens_of(runner.json(*arguments))
    ways: list[list[str | Path]] = [
        ["--load-mode", "file"],
        ["--no-weight-cache"],
        ["--threads", "1"],
        ["--threads", "3"],
        ["--no-packed-cache"],
        ["--packed-cache", tmp_path / "packed"],
        ["--packed-cache", tmp_path / "packed"],
    ]
    for way in ways:
        assert tokens_of(runner.json(*arguments, *way)) == expected, way


def test_sampling_repeats_with_its_seed(runner: Runner, base: TinyProgram) -> None:
    arguments = [*one(base), "--tokens", "1,5", "--tokens", "1,5", "--json"]
    arguments += ["--max-new-tokens", "20"]

    def sample(*options: str) -> list[list[int]]:
        return tokens_of(runner.json(*arguments, *options))

    greedy = sample()
    first = sample("--temperature", "1", "--seed", "3")
    assert first == sample("--temperature", "1", "--seed", "3")
    assert first[0] == first[1]
    assert first != sample("--temperature", "1", "--seed", "4")
    assert first != greedy
    assert sample("--temperature", "1", "--top-p", "0") == greedy


def test_an_answer_ends_where_the_context_does(runner: Runner, base: TinyProgram) -> None:
    prompt = [5] * (CONTEXT - 4)
    report = runner.json(*one(base), "--tokens", ",".join(map(str, prompt)), "--json")
    [answer] = report["programs"]
    assert answer["tokens"] == base.greedy(prompt, 4)
    assert answer["finish_reason"] == "context"


def test_no_new_tokens_gives_logits_only(runner: Runner, base: TinyProgram, tmp_path: Path) -> None:
    report = runner.json(
        *(*one(base), "--tokens", "1,5", "--max-new-tokens", "0"),
        *("--logits-out", tmp_path / "new" / "folder", "--json"),
    )
    [answer] = report["programs"]
    assert answer["tokens"] == []
    assert answer["ttft_s"] is None
    assert answer["decode_tok_s"] is None
    logits = array.array("f", (tmp_path / "new" / "folder" / "0-0.f32").read_bytes())
    assert len(logits) == VOCAB
