import json
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.base.checkpoints.gguf_file import GgufFile
from ptefoundry.base.tokenizer import convert_tokenizer
from ptefoundry.base.tokenizer.byte_level import load_tokenizer
from ptefoundry.base.tokenizer.gguf_vocabulary import GgufTokenizer
from ptefoundry.errors import CheckpointError
from support.tiny_models import CHATML, tiny_tokenizer

TEXTS = (
    "The quick brown fox, and THE lazy dog's 12345 bones; it'll WE'LL don't",
    "  leading,  double  and trailing spaces  \n\n\tand\r\nlines   \n x",
    "Ünïcödé 日本語 🙂 ½ e\u0301",
    "<|im_start|>user\nHi<|im_end|> a",
)


def write(folder: Path, **changed: Any) -> Path:
    """A GGUF file with the tiny tokenizer; `changed` is `tokenizer.ggml.*`."""
    import gguf

    content = json.loads(tiny_tokenizer().to_str())
    vocab = content["model"]["vocab"]
    tokens = sorted(vocab, key=vocab.__getitem__)
    fields = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": tokens,
        "token_type": [3 if index < 3 else 1 for index in range(len(tokens))],
        "merges": [" ".join(merge) for merge in content["model"]["merges"]],
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    writer.add_chat_template(CHATML)
    for name, value in {**fields, **changed}.items():
        key = f"tokenizer.ggml.{name}"
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif value is not None:
            writer.add_array(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "model.gguf"


def read(folder: Path, **changed: Any) -> GgufTokenizer:
    return GgufTokenizer(GgufFile(write(folder, **changed)))


def test_tokenizer_encodes_as_the_one_it_was_made_from(tmp_path: Path) -> None:
    original = tiny_tokenizer()
    built = load_tokenizer(read(tmp_path).build(), tmp_path)
    for text in TEXTS:
        assert built.encode(text).ids == original.encode(text).ids, text


@pytest.mark.parametrize("name", ["gpt-2", "smollm", "qwen2", "llama-bpe", "llama3"])
def test_every_supported_split_is_built(tmp_path: Path, name: str) -> None:
    built = load_tokenizer(read(tmp_path, pre=name, add_bos_token=False).build(), tmp_path)
    digits = built.encode("1234").tokens
    assert digits == {"smollm": ["1", "2", "3", "4"], "qwen2": ["1", "2", "3", "4"]}.get(
        name, digits
    )
    assert built.decode(built.encode(TEXTS[0]).ids) == TEXTS[0]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, None),
        ({"add_bos_token": True}, "<|im_start|>"),
        ({"pre": "llama-bpe"}, "<|im_start|>"),
        ({"pre": "llama-bpe", "add_bos_token": False}, None),
    ],
)
def test_start_token_is_added_as_llama_cpp_does(
    tmp_path: Path, changed: dict[str, Any], expected: str | None
) -> None:
    write(tmp_path, **changed)
    convert_tokenizer(tmp_path, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "chat.json").read_text())["bos_token"] == expected


def test_chat_json_comes_from_metadata(tmp_path: Path) -> None:
    write(tmp_path)
    convert_tokenizer(tmp_path, tmp_path / "out")
    chat = json.loads((tmp_path / "out" / "chat.json").read_text())
    # <|endoftext|> is a control token after which nothing follows, said or not.
    assert chat["eos_token_ids"] == [0, 2]
    assert chat["first"]["prefix"] == "<|im_start|>user\n"


def test_end_of_turn_token_that_is_said_counts(tmp_path: Path) -> None:
    write(tmp_path, eot_token_id=1)
    convert_tokenizer(tmp_path, tmp_path / "out")
    chat = json.loads((tmp_path / "out" / "chat.json").read_text())
    assert chat["eos_token_ids"] == [0, 1, 2]


def test_tokenizer_json_beside_the_file_wins(tmp_path: Path) -> None:
    write(tmp_path, pre="unknown-bpe")
    tiny_tokenizer().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    convert_tokenizer(tmp_path, tmp_path / "out")
    copied = (tmp_path / "out" / "tokenizer.json").read_bytes()
    assert copied == (tmp_path / "tokenizer.json").read_bytes()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "llama"}, "tokenizer.ggml.model: found 'llama'; supported: 'gpt2'"),
        ({"pre": "deepseek-llm"}, "tokenizer.ggml.pre: found 'deepseek-llm'; supported: gpt-2"),
        ({"pre": "default"}, "tokenizer.ggml.pre: found 'default'; .*tokenizer.json beside"),
        ({"pre": None}, "tokenizer.ggml.pre: found 'nothing'"),
        ({"add_space_prefix": True}, "tokenizer.ggml.add_space_prefix: found True"),
        ({"add_eos_token": True}, "tokenizer.ggml.add_eos_token: found True"),
        ({"token_type": [1, 2]}, r"tokenizer.ggml.token_type: found \[1, 2\]; supported: one for"),
        ({"eos_token_id": 4000}, "tokenizer.ggml.eos_token_id: found 4000; supported: a token id"),
        ({"merges": ["a b c"]}, r"tokenizer.ggml.merges: found \['a b c'\]"),
        ({"tokens": None}, "tokenizer.ggml.tokens: expected a value"),
    ],
)
def test_unsupported_metadata_is_named(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    write(tmp_path, **changed)
    with pytest.raises(CheckpointError, match=f"model.gguf: {message}"):
        convert_tokenizer(tmp_path, tmp_path / "out")
