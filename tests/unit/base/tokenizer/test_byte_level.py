import json
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.base.tokenizer.byte_level import (
    SPLITS,
    Vocabulary,
    build_tokenizer,
    load_tokenizer,
)
from ptefoundry.errors import CheckpointError
from support.tiny_models import tiny_tokenizer

TEXTS = (
    "The quick brown fox, and THE lazy dog's 12345 bones; it'll WE'LL don't",
    "  leading,  double  and trailing spaces  \n\n\tand\r\nlines   \n x",
    "Ünïcödé 日本語 🙂👩‍👧 ½ ²³ Ⅷ ١٢٣ \uff15\uff16\uff17 e\u0301 ﬁ \u00a0\u3000",
    "def f(x_1):\n    return x_1**2 != 0x1F  # 3.14e-10\n",
    "<|im_start|>user\nHi<|im_end|> <|im_end |> a<|im_start|>b",
    "",
)

#: The relevant parts of the families' own tokenizer.json.
ORIGINALS: dict[str, dict[str, Any]] = {
    "smollm": {
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {
                    "type": "ByteLevel",
                    "add_prefix_space": False,
                    "trim_offsets": True,
                    "use_regex": True,
                },
            ],
        },
    },
    "qwen2": {
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {
                        "Regex": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
                        "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
                    },
                    "behavior": "Isolated",
                    "invert": False,
                },
                {
                    "type": "ByteLevel",
                    "add_prefix_space": False,
                    "trim_offsets": False,
                    "use_regex": False,
                },
            ],
        },
    },
    "llama-bpe": {
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {
                        "Regex": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
                        "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
                    },
                    "behavior": "Isolated",
                    "invert": False,
                },
                {
                    "type": "ByteLevel",
                    "add_prefix_space": False,
                    "trim_offsets": True,
                    "use_regex": False,
                },
            ],
        },
    },
    "gpt-2": {},
}


def vocabulary(content: dict[str, Any], **changed: Any) -> Vocabulary:
    """The parts of the tiny tokenizer."""
    tokens = sorted(content["model"]["vocab"], key=content["model"]["vocab"].__getitem__)
    parts = {
        "tokens": tokens,
        "merges": [tuple(merge) for merge in content["model"]["merges"]],
        "special": [token["content"] for token in content["added_tokens"]],
    }
    return Vocabulary(**{**parts, **changed})


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return dict(json.loads(tiny_tokenizer().to_str()))


@pytest.mark.parametrize("name", ORIGINALS)
def test_built_tokenizer_encodes_as_the_familys_own(content: dict[str, Any], name: str) -> None:
    from tokenizers import Tokenizer

    original = Tokenizer.from_str(json.dumps({**content, **ORIGINALS[name]}))
    built = load_tokenizer(build_tokenizer(vocabulary(content), SPLITS[name], Path("x")), Path("x"))
    for text in TEXTS:
        assert built.encode(text).ids == original.encode(text).ids, text
        if name != "qwen2":  # which decomposes nothing, but composes
            assert built.decode(built.encode(text).ids, skip_special_tokens=False) == text


def test_same_parts_give_same_bytes(content: dict[str, Any]) -> None:
    first, second = (
        build_tokenizer(vocabulary(content), SPLITS["qwen2"], Path("x")) for _ in range(2)
    )
    assert first == second


def test_whole_words_win_over_merges_where_the_family_says_so(content: dict[str, Any]) -> None:
    # A token that no merge makes.
    parts = vocabulary(content)
    extended = vocabulary(content, tokens=[*parts.tokens, "xyzzy"])
    ids = {
        name: load_tokenizer(build_tokenizer(extended, SPLITS[name], Path("x")), Path("x"))
        .encode("xyzzy")
        .ids
        for name in ("gpt-2", "llama-bpe")
    }
    assert ids["llama-bpe"] == [len(parts.tokens)]
    assert len(ids["gpt-2"]) > 1


def test_added_tokens_are_found_in_text(content: dict[str, Any]) -> None:
    parts = vocabulary(content)
    extended = vocabulary(content, tokens=[*parts.tokens, "[pad 1]"], added=["[pad 1]"])
    tokenizer = load_tokenizer(build_tokenizer(extended, SPLITS["gpt-2"], Path("x")), Path("x"))
    assert tokenizer.encode("a[pad 1]b").ids[1] == len(parts.tokens)


def test_tokens_and_merges_are_checked(content: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"model\.gguf: the tokenizer has the same token"):
        build_tokenizer(vocabulary(content, tokens=["a", "a"]), SPLITS["gpt-2"], Path("model.gguf"))
    with pytest.raises(CheckpointError, match="is not of tokens: 'b'"):
        build_tokenizer(
            Vocabulary(tokens=["a", "ab"], merges=[("a", "b")]), SPLITS["gpt-2"], Path("x")
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 0}},
            "model.type: found 'U",
        ),
        ({"pre_tokenizer": {"type": "Whitespace"}}, r"pre_tokenizer: found \['Whitespace'\]"),
        ({"pre_tokenizer": None}, r"pre_tokenizer: found \[None\]"),
        ({"decoder": None}, r"decoder: found \[None\]"),
        ({"model": {"type": "Nonsense"}}, "expected a tokenizer.json"),
    ],
)
def test_other_tokenizers_are_refused(
    content: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    data = json.dumps({**content, **change}).encode()
    with pytest.raises(CheckpointError, match=f"^base/tokenizer.json: {message}"):
        load_tokenizer(data, Path("base/tokenizer.json"))


def test_old_file_without_model_type_is_accepted(content: dict[str, Any]) -> None:
    model = {key: value for key, value in content["model"].items() if key != "type"}
    data = json.dumps({**content, "model": model}).encode()
    assert load_tokenizer(data, Path("x")).encode("a").ids


def test_sentencepiece_in_tokenizer_json_is_refused(content: dict[str, Any]) -> None:
    model = {**content["model"], "byte_fallback": True}
    data = json.dumps({**content, "model": model}).encode()
    with pytest.raises(CheckpointError, match="found 'BPE with byte_fallback"):
        load_tokenizer(data, Path("base/tokenizer.json"))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"model": 1}', b"\xff\xfe"])
def test_damaged_files_are_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"^base/tokenizer\.json: expected a tokenizer"):
        load_tokenizer(data, Path("base/tokenizer.json"))
