"""Small tokenizers with the pre-tokenizers of well-known models."""

from integration.runner.corpus import SENTENCES
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

LLAMA_3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_PATTERN = LLAMA_3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")


def _split(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _train(tokenizer: Tokenizer, special_tokens: list[str], vocab_size: int = 1000) -> None:
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    tokenizer.add_special_tokens(special_tokens)


def smollm2(vocab_size: int = 1000) -> Tokenizer:
    """Single digits, the GPT-2 pattern, chat tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    _train(tokenizer, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], vocab_size)
    return tokenizer


def llama3() -> Tokenizer:
    """Numbers of up to three digits, whole words first, a leading BOS."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = _split(LLAMA_3_PATTERN)
    _train(tokenizer, ["<|begin_of_text|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>"])
    bos = "<|begin_of_text|>"
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
            ),
        ]
    )
    return tokenizer


def qwen() -> Tokenizer:
    """NFC, single digits, added tokens that are not special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _split(QWEN_PATTERN)
    _train(tokenizer, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("café")])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def odd() -> Tokenizer:
    """Options that no well-known model combines, but files may have."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("--", "removed"),
            pre_tokenizers.Split(Regex(r"[.,]"), "merged_with_previous"),
            pre_tokenizers.Split(Regex(r"[!?]+"), "merged_with_next"),
            pre_tokenizers.Split(Regex(r"\p{Lu}"), "contiguous"),
            pre_tokenizers.Split(Regex(r"[^\p{P}]+"), "isolated", invert=True),
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True),
        ]
    )
    _train(tokenizer, ["<s>", "</s>"])
    tokenizer.add_tokens(
        [
            AddedToken("word", single_word=True, normalized=False),
            AddedToken("<l>", lstrip=True, normalized=False),
            AddedToken("<r>", rstrip=True, normalized=True),
            AddedToken("\u00e9\u00e9", normalized=True),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")],
    )
    return tokenizer


STYLES = {"smollm2": smollm2, "llama3": llama3, "qwen": qwen, "odd": odd}
