"""Llama 3's `tokenizer.model` (tiktoken's format) as a tokenizer.json.

The file has a line `<base64 of a token's bytes> <rank>` for each of 128,000 tokens;
the 256 special tokens follow them, by name only in Meta's and transformers' code.
Names are those of Llama 3.1 and later; Llama 3.0 calls three of them reserved.
"""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

from ptefoundry.base.tokenizer.byte_level import SPLITS, Vocabulary, build_tokenizer
from ptefoundry.errors import CheckpointError

LLAMA3_EOS = ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")
"""Where generation ends: Meta's `Tokenizer.stop_tokens`, of base and chat models."""

_BOS = "<|begin_of_text|>"
_SPECIAL_COUNT = 256
_NAMED = (
    _BOS,
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_2|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
)
_RESERVED_IN_NAMED = 3


def special_tokens() -> list[str]:
    """Llama 3's special tokens in the order of their ids."""
    rest = range(_RESERVED_IN_NAMED, _RESERVED_IN_NAMED + _SPECIAL_COUNT - len(_NAMED))
    return [*_NAMED, *(f"<|reserved_special_token_{index}|>" for index in rest)]


def build_llama3(path: Path) -> bytes:
    """`tokenizer.json` for a `tokenizer.model` in tiktoken's format.

    Raises:
        CheckpointError: the file is a SentencePiece model or malformed.
    """
    ranks = read_ranks(path)
    alphabet = byte_alphabet()
    texts = {token: "".join(alphabet[byte] for byte in token) for token in ranks}
    special = special_tokens()
    vocabulary = Vocabulary(
        tokens=[*texts.values(), *special],
        merges=[(texts[left], texts[right]) for left, right in find_merges(ranks)],
        special=special,
        bos_token=_BOS,
    )
    return build_tokenizer(vocabulary, SPLITS["llama-bpe"], path)


def read_ranks(path: Path) -> dict[bytes, int]:
    """Tokens with their ranks, in ascending order: 0, 1, 2 and so on.

    Raises:
        CheckpointError: the file is a SentencePiece model or malformed.
    """
    ranks: dict[bytes, int] = {}
    try:
        for line in path.read_bytes().splitlines():
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
    except (OSError, ValueError, binascii.Error) as error:
        raise CheckpointError(
            f"{path}: expected Llama 3's tokenizer.model (lines of base64 and rank), found "
            "another file; a SentencePiece model, as of Llama 2, is not supported: only "
            "byte-level BPE tokenizers are"
        ) from error
    if not ranks or list(ranks.values()) != list(range(len(ranks))):
        raise CheckpointError(f"{path}: expected each rank from 0 on once, in ascending order")
    return ranks


def find_merges(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The merges that give tiktoken's result, in order of priority.

    tiktoken joins whichever neighbours form the token of least rank. As merges of
    two tokens this is: every division of a token into two tokens, ordered by the
    token's rank and then by the halves' (transformers' `TikTokenConverter`).
    """
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        halves = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        known = [pair for pair in halves if pair[0] in ranks and pair[1] in ranks]
        merges += sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    return merges


def byte_alphabet() -> list[str]:
    """GPT-2's printable character for each byte, as `ByteLevel` has them.

    Printable bytes of Latin-1 stand for themselves, the others for the characters
    from 256 on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    shifted = {byte: 256 + index for index, byte in enumerate(others)}
    return [chr(shifted.get(byte, byte)) for byte in range(256)]
