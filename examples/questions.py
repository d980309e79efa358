"""Read the question files of the example adapters and judge answers.

Both files hold one JSON object a line. A training line has "question" and
"answer"; a held-out line has "expect" too: groups of alternatives. An answer
is right when it contains at least one alternative of every group, whatever
the case and the accents.
"""

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainingPair:
    """A question and the answer to learn."""

    question: str
    answer: str


@dataclass(frozen=True)
class HeldOutQuestion:
    """A question kept out of training, and how to recognise its answer."""

    question: str
    answer: str
    expect: tuple[tuple[str, ...], ...]

    def accepts(self, answer: str) -> bool:
        """Tell whether an answer names everything this question expects."""
        folded = fold(answer)
        return all(
            any(fold(alternative) in folded for alternative in group) for group in self.expect
        )


def read_training_pairs(adapter: Path) -> list[TrainingPair]:
    """Read `data/train.jsonl` of an adapter folder."""
    return [
        TrainingPair(row["question"], row["answer"])
        for row in _read_rows(adapter / "data" / "train.jsonl")
    ]


def read_heldout_questions(adapter: Path) -> list[HeldOutQuestion]:
    """Read `data/heldout.jsonl` of an adapter folder."""
    return [
        HeldOutQuestion(
            row["question"],
            row["answer"],
            tuple(tuple(group) for group in row["expect"]),
        )
        for row in _read_rows(adapter / "data" / "heldout.jsonl")
    ]


def fold(text: str) -> str:
    """Drop the case and the accents of a text."""
    decomposed = unicodedata.normalize("NFKD", text)
    bare = (char for char in decomposed if not unicodedata.combining(char))
    return "".join(bare).casefold()


def _read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file, one a line."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
