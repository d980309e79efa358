"""Comparing a program with its reference, with a stand-in for the runner."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ptefoundry.bundle.smoke import SmokeRun, run_smoke
from ptefoundry.errors import VerificationError
from ptefoundry.params import SmokeParams

PROMPT, ANSWER = [7, 8], [1, 2, 3, 4]
SMOKE = SmokeParams(prompts=("hello",), tokens=len(ANSWER))
LOGITS = [0.5, -1.0, 2.0]

# Continues tokens as a table says, and writes the logits that it is given.
RUNNER = """#!{python}
import json, struct, sys
from pathlib import Path

def option(name):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None

says = json.loads(Path(__file__).with_name("says.json").read_text())
if option("--logits-out"):
    (Path(option("--logits-out")) / "0-0.f32").write_bytes(struct.pack("<3f", *says["logits"]))
answers = []
for prompt in json.loads(Path(option("--prompt-file")).read_text()):
    tokens = prompt["tokens"] if isinstance(prompt, dict) else says["prompt"]
    answer = []
    while len(answer) < int(option("--max-new-tokens")):
        answer.append(says["next"].get(",".join(map(str, tokens + answer)), 9))
    answers.append({{
        "prompt_tokens": tokens, "tokens": answer, "load_s": 1, "ttft_s": 1, "prefill_tok_s": 1,
        "decode_tok_s": 1, "rss_after_generate": 1, "anon_after_generate": 1,
    }})
print(json.dumps({{"programs": answers}}))
"""


class Smoke:
    """The files of a smoke run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.says = folder, {"logits": LOGITS, "prompt": PROMPT, "next": {}}
        for at, token in enumerate(ANSWER):
            self.says["next"][self.after(at)] = token
        self.reference: dict[str, Any] = {
            "answers": [{"prompt": "hello", "prompt_tokens": PROMPT, "tokens": ANSWER, "near": []}],
            "conversion_difference": 0.0,
            "quantization": None,
            "rounding": None,
        }

    @staticmethod
    def after(count: int) -> str:
        """What the table of continuations calls the prompt and the beginning of the answer."""
        return ",".join(map(str, PROMPT + ANSWER[:count]))

    def run(self) -> dict[str, Any]:
        """The metrics."""
        program = self.folder / "runner" / "bin" / "ptefoundry-runner"
        program.parent.mkdir(parents=True)
        program.write_text(RUNNER.format(python=sys.executable))
        program.with_name("says.json").write_text(json.dumps(self.says))
        reference = self.folder / "reference"
        reference.mkdir()
        (reference / "reference.json").write_text(json.dumps(self.reference))
        save_file({"0": np.array(LOGITS, "<f4")}, reference / "logits.safetensors")
        for name in ("base.pte", "foundation.ptd"):
            (self.folder / name).write_bytes(b"")
        (self.folder / "chat.json").write_text(json.dumps({"first": None}))
        files = SmokeRun(
            runner=self.folder / "runner",
            program=self.folder / "base.pte",
            foundation=self.folder / "foundation.ptd",
            tokenizer=self.folder,
            reference=reference,
        )
        run_smoke(files, SMOKE, self.folder / "metrics.json")
        metrics: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text())
        return metrics

    def round(self, near: list[list[int]], *, logits: float = 0.1) -> None:
        """Say that rounding may choose these tokens."""
        self.reference["rounding"] = {"logits": logits, "margin": 0.1}
        self.reference["answers"][0]["near"] = near


@pytest.fixture
def smoke(tmp_path: Path) -> Smoke:
    return Smoke(tmp_path)


def test_equal_answers_pass(smoke: Smoke) -> None:
    parity = smoke.run()["parity"]
    assert (parity["equal_tokens"], parity["rounded_tokens"]) == (4, 0)
    assert parity["prefill_logits"] == 0


def test_another_token_is_refused(smoke: Smoke) -> None:
    smoke.says["next"][smoke.after(2)] = 5
    with pytest.raises(VerificationError, match=r"others from number 2 on:\n.*\[1, 2, 3, 4\]"):
        smoke.run()


def test_a_token_that_rounding_may_choose_is_put_back(smoke: Smoke) -> None:
    smoke.says["next"][smoke.after(1)] = 5
    smoke.says["next"][smoke.after(3)] = 6
    smoke.round([[1], [2, 5], [3], [4, 6]])
    parity = smoke.run()["parity"]
    assert (parity["equal_tokens"], parity["rounded_tokens"]) == (2, 2)


def test_what_follows_a_rounded_token_is_compared(smoke: Smoke) -> None:
    smoke.says["next"][smoke.after(1)] = 5
    smoke.says["next"][smoke.after(3)] = 6
    smoke.round([[1], [2, 5], [3], [4]])
    with pytest.raises(VerificationError, match="others from number 3 on"):
        smoke.run()


def test_other_prompt_tokens_are_refused(smoke: Smoke) -> None:
    smoke.says["prompt"] = [7]
    with pytest.raises(VerificationError, match="prompt tokens of the reference"):
        smoke.run()


@pytest.mark.parametrize("value", [0.52, float("nan")])
def test_other_logits_are_refused(smoke: Smoke, value: float) -> None:
    smoke.says["logits"] = [value, *LOGITS[1:]]
    with pytest.raises(VerificationError, match=r"within 0\.01 of its reference's"):
        smoke.run()


@pytest.mark.parametrize(("change", "passes"), [(0.38, True), (0.45, False)])
def test_with_rounding_logits_may_differ_by_a_multiple_of_it(
    smoke: Smoke, change: float, passes: bool
) -> None:
    smoke.says["logits"] = [logit + change for logit in LOGITS]
    smoke.round([[], [], [], []])
    if passes:
        assert smoke.run()["parity"]["prefill_logits_rms"] == pytest.approx(change, rel=1e-3)
    else:
        with pytest.raises(VerificationError, match="found a root mean square"):
            smoke.run()
