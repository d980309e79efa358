"""Byte-level BPE tokenizers: building them from parts, and checking foreign ones.

`SPLITS` has the ways in which our families split text before BPE, under the names
that llama.cpp gives them (`tokenizer.ggml.pre`). Each is what the family's own
tokenizer.json says.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.base.fields import unsupported
from ptefoundry.errors import CheckpointError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3_PATTERN = _QWEN2_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


@dataclass(frozen=True)
class Split:
    """How text becomes the words that BPE works on."""

    pattern: str | None = None
    """Regular expression of a word; None for GPT-2's, which `ByteLevel` has built in."""
    single_digits: bool = False
    """Each digit is a word of its own."""
    normal_form: bool = False
    """Text is brought to Unicode's NFC first."""
    whole_words: bool = False
    """A word that is a token is taken as that token, whatever merges say."""


SPLITS = {
    "gpt-2": Split(),
    "smollm": Split(single_digits=True),
    "qwen2": Split(_QWEN2_PATTERN, normal_form=True),
    "llama-bpe": Split(_LLAMA3_PATTERN, whole_words=True),
}
SPLITS["llama3"] = SPLITS["llama-v3"] = SPLITS["llama-bpe"]


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Tokens and merges of a byte-level BPE."""

    tokens: Sequence[str]
    """Text by id: bytes in GPT-2's printable alphabet, added tokens as they are."""
    merges: Sequence[tuple[str, str]]
    special: Sequence[str] = field(default=())
    """Tokens that control the model; matched in text before it is split."""
    added: Sequence[str] = field(default=())
    """Ordinary text that is matched in the same way."""
    bos_token: str | None = None
    """The token that a plain text begins with, if any."""


def build_tokenizer(vocabulary: Vocabulary, split: Split, path: Path) -> bytes:
    """`tokenizer.json` of a byte-level BPE; always the same bytes.

    Raises:
        CheckpointError: tokens repeat, or a merge is not made of tokens; `path` is
            the file that they are from.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    ids = {token: index for index, token in enumerate(vocabulary.tokens)}
    _check_vocabulary(vocabulary, ids, path)
    model = models.BPE(vocab=ids, merges=list(vocabulary.merges), ignore_merges=split.whole_words)
    tokenizer = Tokenizer(model)
    if split.normal_form:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pre_tokenizer(split)
    tokenizer.decoder = decoders.ByteLevel()
    plain = {"normalized": False}
    tokenizer.add_special_tokens([AddedToken(text, **plain) for text in vocabulary.special])
    tokenizer.add_tokens([AddedToken(text, **plain) for text in vocabulary.added])
    if vocabulary.bos_token is not None:
        tokenizer.post_processor = _prepend(vocabulary.bos_token, ids)
    text: str = tokenizer.to_str(pretty=True)
    return text.encode() + b"\n"


def _check_vocabulary(vocabulary: Vocabulary, ids: dict[str, int], path: Path) -> None:
    if len(ids) != len(vocabulary.tokens):
        raise CheckpointError(f"{path}: the tokenizer has the same token twice")
    for pair in vocabulary.merges:
        for text in (*pair, "".join(pair)):
            if text not in ids:
                raise CheckpointError(f"{path}: the merge {pair} is not of tokens: {text!r}")


def _pre_tokenizer(split: Split) -> Any:
    from tokenizers import Regex, pre_tokenizers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split.pattern is None)
    steps: list[Any] = [byte_level]
    if split.pattern is not None:
        steps.insert(0, pre_tokenizers.Split(Regex(split.pattern), "isolated"))
    if split.single_digits:
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    return pre_tokenizers.Sequence(steps) if len(steps) > 1 else byte_level


def _prepend(token: str, ids: dict[str, int]) -> Any:
    from tokenizers import processors

    return processors.TemplateProcessing(
        single=f"{token} $A",
        pair=f"{token} $A {token} $B",
        special_tokens=[(token, ids[token])],
    )


def load_tokenizer(data: bytes, path: Path) -> "Tokenizer":
    """Read a `tokenizer.json` and check that it is a byte-level BPE.

    Args:
        data: the file's bytes.
        path: the file, for messages.

    Raises:
        CheckpointError: it is malformed or another kind of tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        content = json.loads(data)
        tokenizer = Tokenizer.from_str(data.decode())
    # The tokenizers package raises Exception itself for all that it does not like.
    except Exception as error:
        raise CheckpointError(f"{path}: expected a tokenizer.json ({error})") from error
    # The model is asked, not the file: old files leave its type out.
    model = tokenizer.model
    fallback = getattr(model, "byte_fallback", False)
    if type(model).__name__ != "BPE" or fallback:
        found = type(model).__name__ + " with byte_fallback (SentencePiece)" * fallback
        raise unsupported(path, "model.type", found, "a byte-level BPE")
    _check_byte_level(content, path)
    return tokenizer


def _check_byte_level(content: dict[str, Any], path: Path) -> None:
    for part, nested in (("pre_tokenizer", "pretokenizers"), ("decoder", "decoders")):
        step = content.get(part) or {}
        kinds = [item.get("type") for item in step.get(nested, [step])]
        if "ByteLevel" not in kinds:
            raise unsupported(path, part, kinds, "a byte-level BPE, that is, with ByteLevel")
