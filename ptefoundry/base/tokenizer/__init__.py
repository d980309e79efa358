r"""The tokenizer folder of a canonical base: `tokenizer.json` and `chat.json`.

`tokenizer.json` is Hugging Face's format, always a byte-level BPE. `chat.json` is
what a program needs to know besides, with no template language in it:

    {"format_version": 1,
     "bos_token": null,             text that starts a plain text, or null
     "eos_token_ids": [2],          tokens that end generation, ascending
     "first": {"prefix": "<|im_start|>user\n", "suffix": "<|im_end|>\n..."},
     "next": {"prefix": "<|im_end|>\n<|im_start|>user\n", "suffix": "..."},
     "trim_user": false,            strip white space around a user's text
     "no_chat": null}               why `first` and `next` are null, or null

A conversation is first.prefix, the user's text, first.suffix, the generated text
without the token that ended it, next.prefix, the next text, next.suffix and so on.
The pieces contain every special token, `bos_token` too: nothing is put before them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ptefoundry.base.fields import unsupported
from ptefoundry.base.tokenizer.byte_level import load_tokenizer
from ptefoundry.base.tokenizer.chat import cut_template
from ptefoundry.base.tokenizer.source import TokenizerSource, find_tokenizer
from ptefoundry.errors import CheckpointError
from ptefoundry.files import write_bytes, write_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["convert_tokenizer", "largest_token_id"]

_FORMAT_VERSION = 1


def convert_tokenizer(source: Path, into: Path) -> None:
    """Write `tokenizer.json` and `chat.json` of the base in `source`.

    Args:
        source: a checkpoint's folder: with tokenizer.json, a GGUF file or Llama 3's
            tokenizer.model, searched in that order.
        into: folder for the two files; made if missing.

    Raises:
        CheckpointError: there is no tokenizer, or it is malformed or not supported.
    """
    found = find_tokenizer(source)
    tokenizer = load_tokenizer(found.data, found.path)
    chat = {
        "format_version": _FORMAT_VERSION,
        "bos_token": _bos_token(found.path, tokenizer),
        "eos_token_ids": _eos_token_ids(found, tokenizer),
        **cut_template(found.template, found.special_tokens).to_dict(),
    }
    write_bytes(into / "tokenizer.json", found.data)
    write_json(into / "chat.json", chat)


def largest_token_id(folder: Path) -> int:
    """The largest id in a folder's `tokenizer.json`."""
    path = folder / "tokenizer.json"
    tokenizer = load_tokenizer(path.read_bytes(), path)
    return max(tokenizer.get_vocab(with_added_tokens=True).values())


def _bos_token(path: Path, tokenizer: "Tokenizer") -> str | None:
    """The token that the tokenizer itself puts before a text."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a", add_special_tokens=True).ids
    leading = whole[: len(whole) - len(plain)] if whole[-len(plain) :] == plain else None
    if leading is None or len(leading) > 1:
        raise CheckpointError(
            f"{path}: post_processor: found that it makes {whole} of {plain}; "
            "supported: at most one token in front of a text and none behind it"
        )
    return tokenizer.id_to_token(leading[0]) if leading else None


def _eos_token_ids(found: TokenizerSource, tokenizer: "Tokenizer") -> list[int]:
    """Ids of the tokens that end generation, ascending."""
    special = tokenizer.get_added_tokens_decoder()
    ids = set()
    for eos in found.eos:
        index = tokenizer.token_to_id(eos.token) if isinstance(eos.token, str) else eos.token
        if index not in special:
            raise unsupported(eos.path, eos.field, eos.token, "a special token of the tokenizer")
        ids.add(index)
    if not ids:
        raise CheckpointError(
            f"{found.path}: no token ends generation; expected eos_token in "
            "tokenizer_config.json or eos_token_id in generation_config.json beside it"
        )
    return sorted(ids)
