"""The tokenizer in a GGUF file's metadata (`tokenizer.ggml.*`) as a tokenizer.json.

What llama.cpp does with these fields is what they mean: control and user-defined
tokens are found in text first; a byte that is no token is dropped, as in the
tokenizers that such files are made from.
"""

from collections.abc import Iterator

from ptefoundry.base.checkpoints.gguf_file import GgufFile
from ptefoundry.base.fields import Fields
from ptefoundry.base.tokenizer.byte_level import SPLITS, Vocabulary, build_tokenizer
from ptefoundry.base.tokenizer.settings import EosToken

_PREFIX = "tokenizer.ggml"
_CONTROL, _USER_DEFINED = 3, 4
"""llama.cpp's `llama_token_type`."""

_END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>")
"""Control tokens of our families after which nothing more is to come, whether the
file says so or not; llama.cpp stops at them, too."""

_ALLOWED: dict[str, tuple[object, ...]] = {
    "model": ("gpt2",),
    "add_space_prefix": (False,),
    "remove_extra_whitespaces": (False,),
    "add_eos_token": (False,),
}


class GgufTokenizer:
    """A GGUF file's tokenizer and chat settings."""

    def __init__(self, file: GgufFile) -> None:
        """Check the kind of tokenizer.

        Raises:
            CheckpointError: it is not a byte-level BPE that we know how to split for.
        """
        self.path = file.path
        self._fields = Fields(file.path, file.metadata)
        for name, allowed in _ALLOWED.items():
            self._fields.require(f"{_PREFIX}.{name}", *allowed)
        self._fields.text(f"{_PREFIX}.model")
        self._split_name = self._fields.text(f"{_PREFIX}.pre", "nothing")
        if self._split_name not in SPLITS:
            raise self._fields.refuse(
                f"{_PREFIX}.pre",
                f"{', '.join(SPLITS)} (or the base's tokenizer.json beside the file)",
            )
        self._tokens: list[str] = self._fields.items(f"{_PREFIX}.tokens", str)
        self._types = self._token_types()

    def build(self) -> bytes:
        """`tokenizer.json`."""
        pairs = [tuple(merge.split(" ")) for merge in self._fields.items(f"{_PREFIX}.merges", str)]
        if any(len(pair) != 2 for pair in pairs):
            raise self._fields.refuse(f"{_PREFIX}.merges", "two tokens and a space in each")
        vocabulary = Vocabulary(
            tokens=self._tokens,
            merges=[(left, right) for left, right in pairs],
            special=self._of_type(_CONTROL),
            added=self._of_type(_USER_DEFINED),
            bos_token=self._leading_token(),
        )
        return build_tokenizer(vocabulary, SPLITS[self._split_name], self.path)

    def chat_template(self) -> str | None:
        """The chat template, if the file has one."""
        name = "tokenizer.chat_template"
        return self._fields.text(name) if name in self._fields else None

    def special_tokens(self) -> dict[str, str]:
        """`bos_token` and so on, for the chat template."""
        names = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}
        found = {f"{ours}_token": self._token(theirs) for theirs, ours in names.items()}
        return {name: text for name, text in found.items() if text is not None}

    def eos_tokens(self) -> Iterator[EosToken]:
        """The tokens that end generation."""
        for name in ("eos", "eot", "eom"):
            text = self._token(name)
            if text is not None:
                yield EosToken(self.path, f"{_PREFIX}.{name}_token_id", text)
        control = set(self._of_type(_CONTROL))
        for text in _END_OF_TURN:
            if text in control:
                yield EosToken(self.path, f"{_PREFIX}.tokens", text)

    def _leading_token(self) -> str | None:
        # llama.cpp adds it for Llama 3's tokenizer unless the file says otherwise.
        default = SPLITS[self._split_name] is SPLITS["llama-bpe"]
        if self._fields.flag(f"{_PREFIX}.add_bos_token", default=default):
            return self._token("bos")
        return None

    def _token(self, name: str) -> str | None:
        field = f"{_PREFIX}.{name}_token_id"
        value = self._fields.get(field)
        if value is None:
            return None
        if not isinstance(value, int) or not 0 <= value < len(self._tokens):
            raise self._fields.refuse(field, f"a token id below {len(self._tokens)}")
        return self._tokens[value]

    def _of_type(self, kind: int) -> list[str]:
        pairs = zip(self._tokens, self._types, strict=True)
        return [text for text, found in pairs if found == kind]

    def _token_types(self) -> list[int]:
        field = f"{_PREFIX}.token_type"
        types = self._fields.items(field, int)
        if len(types) != len(self._tokens):
            raise self._fields.refuse(field, f"one for each of {len(self._tokens)} tokens")
        return types
