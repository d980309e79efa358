"""A chat template, cut into pieces of text that need no template language.

A template is a program in Jinja. What a simple chat needs of it is constant: the
text before and after the user's first message, and before and after each further
one. The pieces are cut out of a rendering of marked messages, and then proven: they
must give what the template gives for several conversations. A template of which that
is not true has no pieces, with the reason said in `no_chat`.

Templates that print today's date would give other bytes every day: they see the date
on which Llama 3's own templates fall back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ptefoundry.base.tokenizer.template import ChatTemplateError, Template

_USER, _ASSISTANT = "qUSERzq", "qASSISTANTzq"
"""Marks that no template contains or looks for."""

_WHITE_SPACE = " \t\n\r\v\f"
"""What a program strips where `trim_user` says so; Jinja's `trim` strips a few rare
Unicode spaces as well."""

_TURNS = (
    ("Hello!", "Hello. What can I do for you?", "Tell me more.", "Certainly: more.", "Bye"),
    ("  two spaces, a tab\tand a line's end\n", "Yes.", "\n\nx\n", "No.", " y "),
    ("Ünïcödé 日本語 🙂", "¿Qué? ça va", "{{ not }} {% jinja %}", "</s> [INST] <b>", "a\n\nb"),
    ("def f(x):\n    return x + 1", "```python\nf(1)\n```", '{"a": [1, 2]}', "'", '"\\n"'),
)
"""Conversations: user, assistant, user, assistant, user."""


@dataclass(frozen=True)
class Piece:
    """What stands around one user message."""

    prefix: str
    suffix: str


@dataclass(frozen=True)
class Chat:
    """The pieces of a chat, or the reason for there being none."""

    first: Piece | None = None
    next: Piece | None = None
    trim_user: bool = False
    no_chat: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def cut_template(source: str | None, special_tokens: Mapping[str, str]) -> Chat:
    """Cut a chat template into pieces.

    Args:
        source: the template, or None if the base has none.
        special_tokens: texts of `bos_token` and so on, which templates may use.
    """
    if source is None:
        return Chat(no_chat="the base has no chat template")
    try:
        template = Template(source, special_tokens)
        chat = _cut(template)
        _prove(chat, template)
    except ChatTemplateError as failure:
        return Chat(no_chat=f"the chat template {failure}")
    return chat


def _cut(template: Template) -> Chat:
    first = _around(template.render([_USER]), _USER)
    rendered = template.render([_USER, _ASSISTANT, _USER])
    opening = first.prefix + _USER + first.suffix
    if not rendered.startswith(opening + _ASSISTANT):
        raise ChatTemplateError("rewrites the first turn once there is a second")
    following = _around(rendered.removeprefix(opening + _ASSISTANT), _USER)
    return Chat(first, following, trim_user=_trims(template, first))


def _around(text: str, mark: str) -> Piece:
    if text.count(mark) != 1:
        raise ChatTemplateError("does not print a message exactly once")
    prefix, _, suffix = text.partition(mark)
    return Piece(prefix, suffix)


def _trims(template: Template, first: Piece) -> bool:
    """Whether the template strips white space around the user's text."""
    padded = f" \n\t{_USER}\n "
    rendered = template.render([padded])
    if rendered == first.prefix + padded + first.suffix:
        return False
    if rendered == first.prefix + _USER + first.suffix:
        return True
    raise ChatTemplateError("changes white space around messages")


def _prove(chat: Chat, template: Template) -> None:
    for turns in _TURNS:
        for count in (1, 3, 5):
            messages = turns[:count]
            if join(chat, messages) != template.render(messages):
                raise ChatTemplateError("prints more than what stands around messages")


def join(chat: Chat, messages: Sequence[str]) -> str:
    """A conversation as a program puts it together: user, assistant, user and so on."""
    if chat.first is None or chat.next is None:
        raise ValueError("there is no chat to join")
    text = ""
    for index, message in enumerate(messages):
        if index % 2:
            text += message
            continue
        piece = chat.first if index == 0 else chat.next
        text += (
            piece.prefix
            + (message.strip(_WHITE_SPACE) if chat.trim_user else message)
            + piece.suffix
        )
    return text
