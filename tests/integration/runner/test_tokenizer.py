"""The runner's tokenizer against Hugging Face's, on texts that are hard to cut."""

import json
from pathlib import Path

import pytest
from integration.runner.conftest import Runner
from integration.runner.corpus import (
    SENTENCES,
    combining_sequences,
    every_character,
    random_texts,
)
from integration.runner.tiny_tokenizers import STYLES
from tokenizers import Tokenizer

USER_TEXTS = [*SENTENCES, *random_texts(400, seed=2)]


@pytest.fixture(scope="session", params=STYLES)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return STYLES[request.param]()


@pytest.fixture
def folder(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def differences(texts: list[str], found: list[list[int]], expected: list[list[int]]) -> list[str]:
    return [
        f"{text!r}: found {ours}, expected {theirs}"
        for text, ours, theirs in zip(texts, found, expected, strict=True)
        if ours != theirs
    ]


def encode(tokenizer: Tokenizer, texts: list[str], *, special: bool = True) -> list[list[int]]:
    encoded = tokenizer.encode_batch(texts, add_special_tokens=special)
    return [encoding.ids for encoding in encoded]


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(SENTENCES, id="sentences"),
        pytest.param(random_texts(4000, seed=1), id="random"),
        pytest.param(every_character(), id="every character"),
        pytest.param(combining_sequences(), id="combining sequences"),
    ],
)
def test_ids_equal_those_of_hugging_face(
    runner: Runner, tokenizer: Tokenizer, folder: Path, texts: list[str]
) -> None:
    found = runner.tokenize(folder, texts, folder)
    assert differences(texts, found, encode(tokenizer, texts)) == []


def test_decoded_ids_equal_those_of_hugging_face(
    runner: Runner, tokenizer: Tokenizer, folder: Path
) -> None:
    texts = [*SENTENCES, *random_texts(400, seed=3)]
    ids = encode(tokenizer, texts)
    # Cut in the middle, so that some end and start within a code point.
    ids += [part for row in ids for part in (row[: len(row) // 2], row[len(row) // 2 :])]
    found = runner.tokenize(folder, [{"tokens": row} for row in ids], folder)
    assert found == tokenizer.decode_batch(ids)


def test_every_token_decodes_as_in_hugging_face(
    runner: Runner, tokenizer: Tokenizer, folder: Path
) -> None:
    ids = [[token] for token in range(tokenizer.get_vocab_size())]
    found = runner.tokenize(folder, [{"tokens": row} for row in ids], folder)
    assert found == tokenizer.decode_batch(ids)


def write_chat(folder: Path, prefix: str, suffix: str, *, trim_user: bool = False) -> None:
    turn = {"prefix": prefix, "suffix": suffix}
    chat = {"format_version": 1, "bos_token": None, "eos_token_ids": [1], "trim_user": trim_user}
    (folder / "chat.json").write_text(json.dumps({**chat, "first": turn, "next": turn}))


@pytest.mark.parametrize(
    ("prefix", "suffix"),
    [
        ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
        ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n\n", "<|im_end|>"),
        ("Question: ", "\nAnswer:"),
        ("", ""),
    ],
)
def test_a_chat_turn_equals_its_text_as_a_whole(
    runner: Runner, tokenizer: Tokenizer, folder: Path, prefix: str, suffix: str
) -> None:
    write_chat(folder, prefix, suffix)
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    texts = [text for text in USER_TEXTS if not any(token in text for token in special)]
    whole = [prefix + text + suffix for text in texts]
    found = runner.tokenize(folder, texts, folder, "--chat-template")
    assert differences(texts, found, encode(tokenizer, whole, special=False)) == []


def test_special_tokens_in_the_users_text_are_text(
    runner: Runner, tokenizer: Tokenizer, folder: Path
) -> None:
    write_chat(folder, "", "")
    special = [
        token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special
    ]
    texts = [f"a {token}b {token}\n" for token in special] + ["".join(special)]
    tokenizer.encode_special_tokens = True
    try:
        expected = encode(tokenizer, texts, special=False)
    finally:
        tokenizer.encode_special_tokens = False
    found = runner.tokenize(folder, texts, folder, "--chat-template")
    assert differences(texts, found, expected) == []
    assert expected != encode(tokenizer, texts, special=False)


def test_white_space_around_the_users_text_goes_where_the_template_trims_it(
    runner: Runner, tokenizer: Tokenizer, folder: Path
) -> None:
    write_chat(folder, "<|im_start|>", "<|im_end|>", trim_user=True)
    found = runner.tokenize(folder, [" \t\n\r\v\f a b \n", " \n"], folder, "--chat-template")
    expected = ["<|im_start|>a b<|im_end|>", "<|im_start|><|im_end|>"]
    assert found == encode(tokenizer, expected, special=False)


def test_a_base_without_a_chat_says_why(runner: Runner, folder: Path) -> None:
    chat = {"format_version": 1, "bos_token": None, "eos_token_ids": [1], "trim_user": False}
    chat |= {"first": None, "next": None, "no_chat": "the chat template numbers its turns"}
    (folder / "chat.json").write_text(json.dumps(chat))
    assert len(runner.tokenize(folder, ["a"], folder)) == 1
    message = runner.failure(
        *("--tokenize-only", "--tokenizer", folder, "--prompt", "a", "--chat-template")
    )
    assert "chat.json" in message
    assert "the chat template numbers its turns" in message


def test_text_that_is_not_utf_8_is_refused(runner: Runner, folder: Path) -> None:
    prompt = b"ab\xff".decode(errors="surrogateescape")
    done = runner.run("--tokenize-only", "--tokenizer", folder, "--prompt", prompt)
    assert done.returncode == 1
    assert "not valid UTF-8 at byte 2" in done.stderr
    assert done.stdout == ""
