import base64
import json
from pathlib import Path

import pytest

from ptefoundry.base.tokenizer.byte_level import SPLITS, load_tokenizer
from ptefoundry.base.tokenizer.llama3 import (
    build_llama3,
    byte_alphabet,
    find_merges,
    read_ranks,
    special_tokens,
)
from ptefoundry.errors import CheckpointError
from support.tiny_models import tiny_tokenizer

TEXTS = (
    "The quick brown fox, and THE lazy dog's 12345 bones; it'll WE'LL don't",
    "  leading,  double  and trailing spaces  \n\n\tand\r\nlines   \n x",
    "Ünïcödé 日本語 🙂👩‍👧 ½ ²³ Ⅷ ١٢٣ \uff15\uff16\uff17 e\u0301 ﬁ \u00a0\u3000\x00\x07",
    "thethethethe withoutthat downloadsmall adapterneeded",
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small tokenizer.model: the bytes and the tiny tokenizer's merges."""
    content = json.loads(tiny_tokenizer().to_str())
    to_byte = {char: byte for byte, char in enumerate(byte_alphabet())}
    tokens = [bytes([byte]) for byte in range(256)]
    for merge in content["model"]["merges"]:
        token = bytes(to_byte[char] for char in "".join(merge))
        if token not in tokens:
            tokens.append(token)
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)]
    path = tmp_path / "tokenizer.model"
    path.write_text("".join(lines))
    return path


def test_tokenizer_encodes_as_tiktoken_does(model: Path) -> None:
    import tiktoken

    ranks = read_ranks(model)
    special = {token: len(ranks) + index for index, token in enumerate(special_tokens())}
    reference = tiktoken.Encoding(
        "tiny",
        pat_str=str(SPLITS["llama-bpe"].pattern),
        mergeable_ranks=ranks,
        special_tokens=special,
    )
    built = load_tokenizer(build_llama3(model), model)
    for text in TEXTS:
        expected = reference.encode(text, allowed_special="all")
        assert built.encode(text, add_special_tokens=False).ids == expected, text
        assert built.encode(text).ids == [special["<|begin_of_text|>"], *expected]
        assert built.decode(expected, skip_special_tokens=False) == text


def test_special_tokens_have_their_published_ids() -> None:
    ids = {token: 128000 + index for index, token in enumerate(special_tokens())}
    assert len(ids) == 256
    assert ids["<|begin_of_text|>"] == 128000
    assert ids["<|finetune_right_pad_id|>"] == 128004
    assert ids["<|eot_id|>"] == 128009
    assert ids["<|python_tag|>"] == 128010
    assert ids["<|reserved_special_token_2|>"] == 128005
    assert ids["<|reserved_special_token_3|>"] == 128011
    assert ids["<|reserved_special_token_247|>"] == 128255


def test_merges_are_every_division_into_tokens() -> None:
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"ab": 4, b"abc": 5}
    assert find_merges(ranks) == [(b"b", b"c"), (b"a", b"b"), (b"a", b"bc"), (b"ab", b"c")]


def test_alphabet_is_that_of_byte_level() -> None:
    from tokenizers import pre_tokenizers

    alphabet = byte_alphabet()
    assert sorted(alphabet) == sorted(pre_tokenizers.ByteLevel.alphabet())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for byte in range(128):
        assert byte_level.pre_tokenize_str(chr(byte))[0][0] == alphabet[byte]


def test_same_file_gives_same_bytes(model: Path) -> None:
    assert build_llama3(model) == build_llama3(model)


@pytest.mark.parametrize(
    "data",
    [
        b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02",  # how a SentencePiece model begins
        b"",
        b"YQ== 0\nYg==\n",
        b"YQ== 0\nYg== 2\n",
        b"YQ== zero\n",
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"tokenizer\.model: expected"):
        read_ranks(path)
