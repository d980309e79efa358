import json
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.base.tokenizer import convert_tokenizer, largest_token_id
from ptefoundry.errors import CheckpointError
from support.tiny_models import CHATML, save_tiny_tokenizer

CHATML_PIECES = {
    "first": {
        "prefix": "<|im_start|>user\n",
        "suffix": "<|im_end|>\n<|im_start|>assistant\n",
    },
    "next": {
        "prefix": "<|im_end|>\n<|im_start|>user\n",
        "suffix": "<|im_end|>\n<|im_start|>assistant\n",
    },
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    save_tiny_tokenizer(folder)
    return folder


def convert(source: Path, **changed: Any) -> dict[str, Any]:
    """chat.json, after changes of tokenizer_config.json; None takes a field out."""
    path = source / "tokenizer_config.json"
    fields = {**json.loads(path.read_text()), **changed}
    path.write_text(json.dumps({key: value for key, value in fields.items() if value is not None}))
    convert_tokenizer(source, source.parent / "out")
    return dict(json.loads((source.parent / "out" / "chat.json").read_text()))


def test_chat_json_has_the_documented_fields(source: Path) -> None:
    assert convert(source) == {
        "format_version": 1,
        "bos_token": None,
        "eos_token_ids": [2],
        **CHATML_PIECES,
        "trim_user": False,
        "no_chat": None,
    }


def test_tokenizer_json_is_copied_byte_for_byte(source: Path) -> None:
    path = source / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    convert(source)
    copied = source.parent / "out" / "tokenizer.json"
    assert copied.read_bytes() == path.read_bytes()
    assert largest_token_id(copied.parent) == 399


def test_base_without_template_has_no_pieces(source: Path) -> None:
    chat = convert(source, chat_template=None)
    assert (chat["first"], chat["next"]) == (None, None)
    assert chat["no_chat"] == "the base has no chat template"


def test_template_may_be_one_of_several_or_a_file(source: Path) -> None:
    several = [
        {"name": "tool_use", "template": "{{ tools }}"},
        {"name": "default", "template": CHATML},
    ]
    assert convert(source, chat_template=several)["next"] == CHATML_PIECES["next"]
    with pytest.raises(CheckpointError, match=r"chat_template: found .*named 'default'"):
        convert(source, chat_template=several[:1])
    (source / "chat_template.jinja").write_text(CHATML)
    assert convert(source)["next"] == CHATML_PIECES["next"]


def test_eos_tokens_are_united_and_sorted(source: Path) -> None:
    (source / "generation_config.json").write_text('{"eos_token_id": [2, 0]}')
    (source / "config.json").write_text('{"eos_token_id": 1}')
    assert convert(source)["eos_token_ids"] == [0, 2], "generation_config.json speaks first"
    (source / "generation_config.json").write_text("{}")
    assert convert(source)["eos_token_ids"] == [1, 2]
    settings = {"eos_token": {"content": "<|endoftext|>", "special": True}}
    assert convert(source, **settings)["eos_token_ids"] == [0, 1]


def test_tokens_may_be_in_the_older_file(source: Path) -> None:
    (source / "special_tokens_map.json").write_text('{"eos_token": "<|endoftext|>"}')
    assert convert(source, eos_token=None)["eos_token_ids"] == [0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("generation_config.json", {"eos_token_id": 77}, "eos_token_id: found 77; supported: a sp"),
        ("generation_config.json", {"eos_token_id": "2"}, "eos_token_id: found '2'"),
        ("tokenizer_config.json", {"eos_token": "</s>"}, "eos_token: found '</s>'; supported: a s"),
        ("tokenizer_config.json", {"eos_token": None}, "no token ends generation; expected eos"),
        ("tokenizer_config.json", {"chat_template": 3}, "chat_template: found 3"),
    ],
)
def test_unusable_settings_are_named(
    source: Path, name: str, content: dict[str, Any], message: str
) -> None:
    (source / name).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        convert_tokenizer(source, source.parent / "out")


def test_token_in_front_of_every_text_is_the_bos_token(source: Path) -> None:
    path = source / "tokenizer.json"
    content = json.loads(path.read_text())
    start = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
    end = {"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}

    def add(*parts: dict[str, Any]) -> None:
        tokens = {
            name: {"id": name, "ids": [index], "tokens": [name]}
            for index, name in ((1, "<|im_start|>"), (2, "<|im_end|>"))
        }
        processor = {
            "type": "TemplateProcessing",
            "single": parts,
            "pair": [*parts, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": tokens,
        }
        path.write_text(json.dumps({**content, "post_processor": processor}))

    add(start, text)
    assert convert(source)["bos_token"] == "<|im_start|>"
    for parts in ((text, end), (start, start, text), (start, text, end)):
        add(*parts)
        with pytest.raises(CheckpointError, match=r"post_processor: found that it makes"):
            convert(source)


def test_base_without_tokenizer_says_what_was_looked_for(tmp_path: Path) -> None:
    expected = r"looked for tokenizer\.json, \*\.gguf and tokenizer\.model; put the base's"
    with pytest.raises(CheckpointError, match=expected):
        convert_tokenizer(tmp_path, tmp_path / "out")


def test_llama3_model_file_ends_where_llama3_ends(tmp_path: Path) -> None:
    import base64

    tokens = [bytes([byte]) for byte in range(256)]
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)]
    (tmp_path / "tokenizer.model").write_text("".join(lines))
    convert_tokenizer(tmp_path, tmp_path / "out")
    chat = json.loads((tmp_path / "out" / "chat.json").read_text())
    assert chat["bos_token"] == "<|begin_of_text|>"
    assert chat["eos_token_ids"] == [256 + 1, 256 + 8, 256 + 9]
    assert chat["no_chat"] == "the base has no chat template"


def test_sentencepiece_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    with pytest.raises(CheckpointError, match="SentencePiece model, as of Llama 2, is not"):
        convert_tokenizer(tmp_path, tmp_path / "out")
