import pytest

from ptefoundry.base.tokenizer.chat import Piece, cut_template, join
from support.chat_templates import TEMPLATES, UNCUTTABLE

TOKENS = {"bos_token": "<|begin|>", "eos_token": "<|end|>"}


def test_chatml_is_cut_into_its_pieces() -> None:
    chat = cut_template(TEMPLATES["chatml"], TOKENS)
    answer = "<|im_end|>\n<|im_start|>assistant\n"
    assert chat.first == Piece("<|im_start|>user\n", answer)
    assert chat.next == Piece("<|im_end|>\n<|im_start|>user\n", answer)
    assert (chat.trim_user, chat.no_chat) == (False, None)


def test_default_system_message_comes_first_only() -> None:
    chat = cut_template(TEMPLATES["default system"], TOKENS)
    assert chat.first is not None
    assert chat.next is not None
    assert chat.first.prefix.startswith("<|im_start|>system\nYou are a helpful assistant.")
    assert "system" not in chat.next.prefix


def test_date_is_fixed_and_trimming_is_said() -> None:
    chat = cut_template(TEMPLATES["date and trim"], TOKENS)
    assert chat.first is not None
    assert chat.first.prefix.startswith("<|begin|>")
    assert "Today Date: 26 Jul 2024\n" in chat.first.prefix
    assert chat.trim_user
    assert join(chat, ["\t hi\n"]) == chat.first.prefix + "hi" + chat.first.suffix


@pytest.mark.parametrize("name", UNCUTTABLE)
def test_template_without_constant_pieces_has_a_reason(name: str) -> None:
    source, reason = UNCUTTABLE[name]
    chat = cut_template(source, TOKENS)
    assert (chat.first, chat.next) == (None, None)
    assert chat.no_chat is not None
    assert chat.no_chat.startswith(f"the chat template {reason}")


def test_no_template_is_the_reason_for_no_chat() -> None:
    assert cut_template(None, {}).no_chat == "the base has no chat template"


def test_pieces_cannot_be_joined_without_chat() -> None:
    with pytest.raises(ValueError, match="no chat"):
        join(cut_template(None, {}), ["hi"])
