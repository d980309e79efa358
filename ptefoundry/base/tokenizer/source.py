"""Finding a base's tokenizer in its folder, whatever form it has there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ptefoundry.base.checkpoints.gguf import find_gguf, read_gguf
from ptefoundry.base.tokenizer import settings
from ptefoundry.base.tokenizer.gguf_vocabulary import GgufTokenizer
from ptefoundry.base.tokenizer.llama3 import LLAMA3_EOS, build_llama3
from ptefoundry.base.tokenizer.settings import EosToken
from ptefoundry.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class TokenizerSource:
    """A tokenizer and what its surroundings say about it."""

    path: Path
    """The file that the tokenizer is from."""
    data: bytes
    """`tokenizer.json`."""
    eos: tuple[EosToken, ...]
    """Tokens that end generation."""
    template: str | None = None
    """The chat template, in Jinja."""
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    """Texts of `bos_token` and so on, for the template."""


def find_tokenizer(folder: Path) -> TokenizerSource:
    """The tokenizer in a checkpoint's folder.

    Raises:
        CheckpointError: there is none, or it is malformed or not supported.
    """
    template = settings.chat_template(folder)
    tokens = settings.special_tokens(folder)
    eos = tuple(settings.eos_tokens(folder))
    ready, tiktoken = folder / "tokenizer.json", folder / "tokenizer.model"
    if ready.is_file():
        return TokenizerSource(
            path=ready,
            data=ready.read_bytes(),
            eos=eos,
            template=template,
            special_tokens=tokens,
        )
    if find_gguf(folder):
        return _from_gguf(GgufTokenizer(read_gguf(folder)), template, tokens)
    if tiktoken.is_file():
        own = tuple(EosToken(tiktoken, "special tokens", text) for text in LLAMA3_EOS)
        return TokenizerSource(
            path=tiktoken,
            data=build_llama3(tiktoken),
            eos=(*own, *eos),
            template=template,
            special_tokens={"bos_token": "<|begin_of_text|>", **tokens},
        )
    raise CheckpointError(
        f"{folder}: found no tokenizer; looked for tokenizer.json, *.gguf and tokenizer.model; "
        "put the base's tokenizer.json into the folder"
    )


def _from_gguf(
    gguf: GgufTokenizer, template: str | None, tokens: Mapping[str, str]
) -> TokenizerSource:
    return TokenizerSource(
        path=gguf.path,
        data=gguf.build(),
        eos=tuple(gguf.eos_tokens()),
        template=template or gguf.chat_template(),
        special_tokens={**gguf.special_tokens(), **tokens},
    )
