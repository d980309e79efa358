"""The built runner, and what its tests feed it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import pytest
from integration.runner.tiny_programs import (
    CONTEXT,
    Recipe,
    TinyProgram,
    build_model,
    greedy,
    tiny_program,
)
from integration.runner.tiny_tokenizers import smollm2
from tokenizers import Tokenizer

from support.shared_folder import shared_folder

EOS_PROMPTS = ([1], [2])
"""The plain program ends its answers to them with one of its two tokens each."""

CHAT = {
    "format_version": 1,
    "bos_token": None,
    "eos_token_ids": [0],
    "trim_user": False,
    "no_chat": None,
    "first": {
        "prefix": "<|im_start|>user\n",
        "suffix": "<|im_end|>\n<|im_start|>assistant\n",
    },
    "next": {
        "prefix": "<|im_end|>\n<|im_start|>user\n",
        "suffix": "<|im_end|>\n<|im_start|>assistant\n",
    },
}

RUNNER_SOURCES = Path(__file__).parents[3] / "runner"


def beside_python(name: str) -> str:
    """A program that pip installed into this environment."""
    return str(Path(sys.executable).parent / name)


def executorch_folder() -> str:
    spec = find_spec("executorch")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return next(iter(spec.submodule_search_locations))


def configure_and_build(sources: Path, build: Path, *options: str) -> None:
    subprocess.run(
        [
            *(beside_python("cmake"), "-S", sources, "-B", build, "-G", "Ninja"),
            f"-DCMAKE_MAKE_PROGRAM={beside_python('ninja')}",
            f"-DCMAKE_PREFIX_PATH={executorch_folder()}",
            *("-DCMAKE_BUILD_TYPE=MinSizeRel", *options),
        ],
        check=True,
    )
    jobs = str(min(2, os.cpu_count() or 1))
    subprocess.run([beside_python("cmake"), "--build", build, "--parallel", jobs], check=True)


def install(build: Path, prefix: Path) -> None:
    subprocess.run([beside_python("cmake"), "--install", build, "--prefix", prefix], check=True)


@dataclass(frozen=True)
class Runner:
    """The command line of the runner."""

    program: Path
    cache: Path
    """In place of the user's."""

    def run(
        self,
        *arguments: str | Path,
        stdin: str = "",
        stdout: int | IO[str] = subprocess.PIPE,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *arguments],
            env=os.environ | {"PTEFOUNDRY_CACHE": str(self.cache)} | dict(environment or {}),
            input=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="backslashreplace",
            check=False,
        )

    def json(self, *arguments: str | Path) -> Any:
        """What the runner prints on success."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def failure(self, *arguments: str | Path, status: int = 1) -> str:
        """The message of a run that must fail, with nothing on standard output."""
        done = self.run(*arguments, "--quiet")
        assert done.returncode == status, done.stdout + done.stderr
        assert done.stdout == ""
        assert done.stderr.startswith("ptefoundry-runner: error: ")
        assert done.stderr.count("\n") == 1
        return done.stderr

    def tokenize(
        self, tokenizer: Path, prompts: Sequence[Any], folder: Path, *options: str
    ) -> list[Any]:
        """Token ids of texts, or texts of `{"tokens": ids}`."""
        file = folder / "prompts.json"
        file.write_text(json.dumps(list(prompts)))
        results = self.json(
            *("--tokenize-only", "--tokenizer", tokenizer, "--prompt-file", file, *options)
        )
        assert isinstance(results, list)
        return results


@pytest.fixture(scope="session")
def build_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of the runner with its unit tests."""
    with shared_folder(tmp_path_factory, "runner-build") as build:
        if not (build / "built").exists():
            configure_and_build(RUNNER_SOURCES, build)
            (build / "built").touch()
    return build


@pytest.fixture(scope="session")
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """The runner: of $PTEFOUNDRY_RUNNER_PREFIX if that is set, else built for the tests."""
    prefix = os.environ.get("PTEFOUNDRY_RUNNER_PREFIX")
    folder = Path(prefix) if prefix else request.getfixturevalue("build_folder")
    with shared_folder(tmp_path_factory, "runner-cache") as cache:
        return Runner(folder.resolve() / "bin" / "ptefoundry-runner", cache)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> TinyProgram:
    """A base program and its foundation."""
    with shared_folder(tmp_path_factory, "runner-base") as folder:
        return tiny_program(build_model(Recipe()), folder, "base")


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> TinyProgram:
    """The base with an adapter. It has a foundation of its own, which nobody needs."""
    with shared_folder(tmp_path_factory, "runner-adapter") as folder:
        return tiny_program(build_model(Recipe(lora=True)), folder, "adapter")


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> TinyProgram:
    """Without custom operators or optional constants, with logits of all positions."""
    model = build_model(Recipe(custom_ops=False, full_logits=True, layers=1))
    # A token of each prompt's answer that the other's does not have before.
    answers = [greedy(model, prompt, 12) for prompt in EOS_PROMPTS]
    first = next(token for token in answers[0][3:] if token not in answers[1])
    second = next(token for token in answers[1][5:] if token not in answers[0])
    # Linked programs have the last one several times.
    constants = {"get_max_seq_len": CONTEXT, "get_eos_ids": [first, second, second, second]}
    with shared_folder(tmp_path_factory, "runner-plain") as folder:
        return tiny_program(model, folder, "plain", constants)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A tokenizer that fits the tiny programs."""
    return smollm2(vocab_size=480)


@pytest.fixture
def tokenizer_folder(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """`tokenizer` with the chat of ChatML."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat.json").write_text(json.dumps(CHAT))
    return folder
