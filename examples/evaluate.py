"""Ask the base model and both adapters every held-out question.

    python examples/evaluate.py --base SmolLM2-135M-Instruct.Q4_1.gguf

The answers are decoded greedily. They go to `adapters/results.json` with what
was expected and whether each is right; a Markdown table is printed, and with
`--readme` it also replaces the one in the README.
"""

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerFast

from base_model import load_model, load_tokenizer, render_prompt
from questions import HeldOutQuestion, read_heldout_questions

FOLDER = Path(__file__).parent
ADAPTERS = FOLDER / "adapters"
ADAPTER_NAMES = ["nobel", "executorch"]
ANSWERERS = ["base", *ADAPTER_NAMES]
BATCH = 16  # questions answered together
MAX_NEW_TOKENS = 80
Row = dict[str, Any]  # one question, as it stands in results.json
Totals = dict[str, dict[str, int]]  # topic -> answerer -> right answers
TABLE_START = "<!-- results: start -->\n"
TABLE_END = "<!-- results: end -->"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True, help="GGUF file")
    parser.add_argument("--out", type=Path, default=ADAPTERS / "results.json", help="JSON file")
    parser.add_argument("--readme", action="store_true", help="refresh the README's table")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def load_answerers(base: Path) -> PeftModel:
    """Load the base once, with both saved adapters beside it.

    Args:
        base: The GGUF file of the base model.

    Returns:
        A model that answers as any of the three.
    """
    first, *others = ADAPTER_NAMES
    model = PeftModel.from_pretrained(load_model(base), ADAPTERS / first, adapter_name=first)
    for name in others:
        model.load_adapter(ADAPTERS / name, adapter_name=name)
    return model.eval()


@contextlib.contextmanager
def answering_as(model: PeftModel, answerer: str) -> Iterator[None]:
    """Let the model answer as the base or as one adapter."""
    if answerer == "base":
        with model.disable_adapter():
            yield
    else:
        model.set_adapter(answerer)
        yield


def answer(model: PeftModel, tokenizer: PreTrainedTokenizerFast, questions: list[str]) -> list[str]:
    """Answer questions greedily, a few at a time.

    Args:
        model: The model, already set to one answerer.
        tokenizer: The tokenizer with the chat template.
        questions: What to ask.

    Returns:
        One answer for each question, in the same order.
    """
    answers: list[str] = []
    for start in range(0, len(questions), BATCH):
        prompts = [
            render_prompt(tokenizer, question) for question in questions[start : start + BATCH]
        ]
        inputs = tokenizer(
            prompts,
            padding=True,
            add_special_tokens=False,
            return_tensors="pt",
        )
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=MAX_NEW_TOKENS)
        replies = tokens[:, inputs["input_ids"].shape[1] :]
        answers += tokenizer.batch_decode(replies, skip_special_tokens=True)
    return answers


def judge(topic: str, question: HeldOutQuestion, answers: dict[str, str]) -> Row:
    """Make the result row of one question."""
    return {
        "topic": topic,
        "question": question.question,
        "expected_answer": question.answer,
        "expect": question.expect,
        "answers": {
            name: {"text": text, "right": question.accepts(text)} for name, text in answers.items()
        },
    }


def count_right(rows: list[Row]) -> Totals:
    """Count the right answers of every answerer, topic by topic."""
    totals: Totals = {}
    for topic in ADAPTER_NAMES:
        on_topic = [row for row in rows if row["topic"] == topic]
        right = {name: sum(row["answers"][name]["right"] for row in on_topic) for name in ANSWERERS}
        totals[topic] = {"questions": len(on_topic), **right}
    return totals


def markdown_table(rows: list[Row], totals: Totals) -> str:
    """Render who answered which held-out question right."""
    lines = [
        "| Question | " + " | ".join(ANSWERERS) + " |",
        "| --- |" + " :-: |" * len(ANSWERERS),
    ]
    for row in rows:
        marks = ["yes" if row["answers"][name]["right"] else "-" for name in ANSWERERS]
        lines.append(f"| {row['question']} | {' | '.join(marks)} |")
    for topic, total in totals.items():
        counts = [f"**{total[name]}**" for name in ANSWERERS]
        label = f"**Right, of {total['questions']} {topic} questions**"
        lines.append(f"| {label} | {' | '.join(counts)} |")
    return "\n".join(lines) + "\n"


def refresh_readme(table: str) -> None:
    """Put the table between the two marks in the README."""
    readme = FOLDER / "README.md"
    between_marks = re.compile(re.escape(TABLE_START) + ".*?" + re.escape(TABLE_END), re.DOTALL)
    text = between_marks.sub(
        lambda _: TABLE_START + table + TABLE_END,
        readme.read_text(encoding="utf-8"),
    )
    readme.write_text(text, encoding="utf-8")


def main() -> None:
    """Answer, judge, write and print."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    tokenizer = load_tokenizer(arguments.base)
    model = load_answerers(arguments.base)
    rows = []
    for topic in ADAPTER_NAMES:
        heldout = read_heldout_questions(ADAPTERS / topic)
        replies = {}
        for name in ANSWERERS:
            with answering_as(model, name):
                print(f"{name} answers the {topic} questions", file=sys.stderr)
                replies[name] = answer(model, tokenizer, [item.question for item in heldout])
        for index, item in enumerate(heldout):
            answers = {name: replies[name][index] for name in ANSWERERS}
            rows.append(judge(topic, item, answers))
    totals = count_right(rows)
    results = {"totals": totals, "questions": rows}
    arguments.out.write_text(
        json.dumps(results, indent=2, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    table = markdown_table(rows, totals)
    if arguments.readme:
        refresh_readme(table)
    print(table)


if __name__ == "__main__":
    main()
