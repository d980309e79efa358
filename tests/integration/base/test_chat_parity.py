"""Chat pieces give what transformers' `apply_chat_template` gives."""

import json
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.base.tokenizer import convert_tokenizer
from support.chat_templates import TEMPLATES
from support.tiny_models import save_tiny_tokenizer

TEXTS = (
    "How do I sort a list in Python?",
    "Use `sorted(items)`.\n\n```python\nsorted([3, 1, 2])\n```",
    "  And backwards?\t\n",
    "sorted(items, reverse=True)",
    "Grüße, 你好, 🙂\n\n- one\n- two",
)


def joined(chat: dict[str, Any], texts: tuple[str, ...]) -> str:
    """What a program does with chat.json."""
    result = ""
    for index, text in enumerate(texts):
        if index % 2:
            result += text
            continue
        piece = chat["next"] if index else chat["first"]
        user = text.strip(" \t\n\r\v\f") if chat["trim_user"] else text
        result += piece["prefix"] + user + piece["suffix"]
    return result


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("count", [1, 3, 5])
def test_pieces_give_what_transformers_gives(tmp_path: Path, name: str, count: int) -> None:
    from transformers import AutoTokenizer

    source = tmp_path / "source"
    source.mkdir()
    save_tiny_tokenizer(source, chat_template=TEMPLATES[name])
    convert_tokenizer(source, tmp_path / "out")
    chat = json.loads((tmp_path / "out" / "chat.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(source)
    messages = [
        {"role": "assistant" if index % 2 else "user", "content": text}
        for index, text in enumerate(TEXTS[:count])
    ]
    expected = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, date_string="26 Jul 2024"
    )
    assert joined(chat, TEXTS[:count]) == expected
