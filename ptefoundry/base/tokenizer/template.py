"""Rendering chat templates the way transformers does, but on a fixed date.

The environment is that of transformers' `_compile_jinja_template`: sandboxed, with
`trim_blocks` and `lstrip_blocks`, loop controls, `raise_exception`, `strftime_now`,
a plain `tojson` and a `generation` block that only marks text. It is built here so
that a base can be converted without transformers, and with another clock.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

_TODAY = date(2024, 7, 26)
"""The date on which Llama 3.1's and 3.2's templates fall back: "26 Jul 2024"."""

_ROLES = ("user", "assistant")


class ChatTemplateError(Exception):
    """A template cannot be rendered or cut; the text completes "the chat template"."""


class Template:
    """A chat template that can be rendered."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        """Compile the template.

        Raises:
            ChatTemplateError: it is not valid Jinja.
        """
        from jinja2 import TemplateError

        self._special_tokens = special_tokens
        try:
            self._template = _environment().from_string(source)
        except TemplateError as error:
            raise ChatTemplateError(f"is not valid: {error}") from error

    def render(self, messages: Sequence[str]) -> str:
        """The text of user, assistant, user, ... up to where the answer begins.

        Raises:
            ChatTemplateError: the template refuses these messages, or breaks.
        """
        from jinja2 import TemplateError

        chat = [
            {"role": _ROLES[index % 2], "content": message}
            for index, message in enumerate(messages)
        ]
        try:
            text: str = self._template.render(
                messages=chat,
                tools=None,
                documents=None,
                add_generation_prompt=True,
                **self._special_tokens,
            )
        # Besides its own errors Jinja lets through those of the operations in it.
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            raise ChatTemplateError(f"cannot be rendered: {error}") from error
        return text


def _environment() -> "ImmutableSandboxedEnvironment":
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):  # type: ignore[misc]
        """`{% generation %}`, which marks the assistant's text for training."""

        tags = {"generation"}  # noqa: RUF012  as Jinja declares it

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _TODAY.strftime
    return environment


def _refuse(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
