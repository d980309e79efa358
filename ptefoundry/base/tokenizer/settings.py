"""What files beside a Hugging Face tokenizer say about it.

`tokenizer_config.json` (before it, `special_tokens_map.json`) names the special
tokens and has the chat template, unless `chat_template.jinja` does.
`generation_config.json`, and where it says nothing `config.json`, has the ids that
end generation: the order in which transformers takes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptefoundry.base.fields import Fields, read_fields

_TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class EosToken:
    """A token that ends generation, as a file says it: by id or by text."""

    path: Path
    field: str
    token: int | str


def special_tokens(folder: Path) -> dict[str, str]:
    """Names such as `bos_token` with the tokens' texts, as chat templates see them."""
    tokens: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        fields = _optional(folder / name)
        for field, value in fields.values.items():
            if not field.endswith("_token"):
                continue
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                tokens[field] = text
    return tokens


def chat_template(folder: Path) -> str | None:
    """The folder's chat template, the one named `default` if there are several.

    Raises:
        CheckpointError: a file is malformed.
    """
    path = folder / _TEMPLATE
    if path.is_file():
        return path.read_text(encoding="utf-8")
    fields = _optional(folder / "tokenizer_config.json")
    value = fields.get("chat_template")
    if isinstance(value, list):
        return _default_template(fields, value)
    return fields.text("chat_template") if value is not None else None


def _default_template(fields: Fields, templates: list[Any]) -> str:
    for item in templates:
        if isinstance(item, dict) and item.get("name") == "default":
            template = item.get("template")
            if isinstance(template, str):
                return template
    raise fields.refuse("chat_template", "a text, or a list with a template named 'default'")


def eos_tokens(folder: Path) -> Iterator[EosToken]:
    """The tokens that the folder's files say end generation.

    Raises:
        CheckpointError: a file or field is malformed.
    """
    text = special_tokens(folder).get("eos_token")
    if text is not None:
        yield EosToken(folder / "tokenizer_config.json", "eos_token", text)
    for name in ("generation_config.json", "config.json"):
        fields = _optional(folder / name)
        value = fields.get("eos_token_id")
        if value is None:
            continue
        ids = value if isinstance(value, list) else [value]
        if not all(isinstance(item, int) and not isinstance(item, bool) for item in ids):
            raise fields.refuse("eos_token_id", "a token id or a list of them")
        yield from (EosToken(fields.path, "eos_token_id", item) for item in ids)
        return


def _optional(path: Path) -> Fields:
    return read_fields(path) if path.is_file() else Fields(path, {})
