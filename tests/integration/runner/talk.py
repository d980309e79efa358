"""What programs have to answer in a conversation."""

from integration.runner.conftest import CHAT
from integration.runner.tiny_programs import TinyProgram
from tokenizers import Tokenizer

LENGTH = 5
"""Tokens of an answer."""


class Talk:
    """A conversation with eager models that see all of it each time."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.history: list[int] = []

    def ask(self, program: TinyProgram, user: str) -> str:
        piece = CHAT["next" if self.history else "first"]
        assert isinstance(piece, dict)
        text = piece["prefix"] + user + piece["suffix"]
        self.history += self.tokenizer.encode(text, add_special_tokens=False).ids
        answer = program.greedy(self.history, LENGTH)
        assert 0 not in answer
        self.history += answer
        decoded = self.tokenizer.decode(answer)
        assert isinstance(decoded, str)
        return decoded
