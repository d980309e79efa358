"""`ptefoundry run` as people and apps use it: the command, a bundle and the runner."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from integration.runner.conftest import Runner
from integration.runner.other_matrices import with_other_matrices
from integration.runner.talk import LENGTH, Talk
from integration.runner.tiny_programs import TinyProgram
from tokenizers import Tokenizer

from ptefoundry.bundle.manifest import FileEntry, Manifest, Variant
from ptefoundry.digest import hash_file
from ptefoundry.files import write_json

FOUNDATION = "xnnpack/foundation.ptd"


@pytest.fixture
def programs(base: TinyProgram, adapter: TinyProgram, tmp_path: Path) -> dict[str, TinyProgram]:
    """The base and two adapters; names as in the bundle."""
    blue = with_other_matrices(adapter, tmp_path / "other.pte", seed=1)
    return {"base": base, "red": adapter, "blue": blue}


@pytest.fixture
def bundle(programs: dict[str, TinyProgram], tokenizer_folder: Path, tmp_path: Path) -> Path:
    root = tmp_path / "bundle"
    (root / "xnnpack").mkdir(parents=True)
    shutil.copy(programs["base"].foundation, root / FOUNDATION)
    for name, program in programs.items():
        shutil.copy(program.program, root / f"xnnpack/{name}.pte")
    shutil.copytree(tokenizer_folder, root / "tokenizer")
    manifest = Manifest(
        name="tiny",
        base={"name": "example/tiny", "source": "file:models/base"},
        adapters={name: {"source": f"file:{name}"} for name in programs if name != "base"},
        backends={"xnnpack": {}},
        files=tuple(
            FileEntry(
                path=path.relative_to(root).as_posix(),
                size=path.stat().st_size,
                sha256=hash_file(path),
            )
            for path in sorted(root.rglob("*"))
            if path.is_file()
        ),
        variants=tuple(
            Variant(
                backend="xnnpack",
                adapter=name,
                program=f"xnnpack/{name}.pte",
                data=(FOUNDATION,),
                method="forward",
            )
            for name in programs
        ),
    )
    write_json(root / "manifest.json", asdict(manifest))
    return root


def run(
    runner: Runner, bundle: Path, *options: str, stdin: str
) -> subprocess.CompletedProcess[str]:
    """The command with this runner, in a folder that is no workspace."""
    words = ["run", bundle, "--max-new-tokens", str(LENGTH), *options]
    done = subprocess.run(
        [sys.executable, "-c", "from ptefoundry.cli.main import main; main()", *words],
        cwd=bundle.parent,
        env=os.environ
        | {
            "PTEFOUNDRY_RUNNER": str(runner.program.parents[1]),
            "PTEFOUNDRY_CACHE": str(bundle.parent / "cache"),
        },
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_a_chat_switches_between_the_adapters_of_a_bundle(
    runner: Runner, bundle: Path, programs: dict[str, TinyProgram], tokenizer: Tokenizer
) -> None:
    """It keeps the conversation, or leaves it behind where that is asked for."""
    talk, anew = Talk(tokenizer), Talk(tokenizer)
    expected = [
        talk.ask(programs["base"], "hi"),
        talk.ask(programs["red"], "and"),
        anew.ask(programs["blue"], "so"),
        anew.ask(programs["red"], "yes"),
    ]
    done = run(
        runner,
        bundle,
        stdin="hi\n/adapter red\nand\n/adapter blue --clear\nso\n/adapter red\nyes\n/exit\n",
    )
    assert done.stdout == "".join(f"{answer}\n" for answer in expected)
    kept, cleared, back = [line for line in done.stderr.splitlines() if "fed in" in line]
    assert "red: loaded in " in kept
    assert " 0 tokens of the conversation fed in " not in kept
    assert "blue: loaded in " in cleared
    assert " 0 tokens of the conversation fed in " in cleared
    assert "red: " in back
    assert "loaded in" not in back
    assert " s, " in back


def test_an_app_asks_two_adapters_of_a_bundle(
    runner: Runner, bundle: Path, programs: dict[str, TinyProgram], tokenizer: Tokenizer
) -> None:
    names = ("red", "blue")
    requests = [{"id": name, "adapter": name, "prompt": "hi"} for name in names]
    requests += [{"op": "quit"}]
    done = run(
        runner,
        bundle,
        "--serve-stdio",
        stdin="".join(f"{json.dumps(request)}\n" for request in requests),
    )
    ready, *records = map(json.loads, done.stdout.splitlines())
    assert {one["name"] for one in ready["adapters"]} == set(programs)
    assert records.pop() == {"id": None, "op": "quit"}
    answers = {name: answer_of(records, name) for name in names}
    for name, (text, last) in answers.items():
        assert text == Talk(tokenizer).ask(programs[name], "hi")
        assert last["adapter"] == name
        assert last["load_s"] > 0
    assert answers["red"] != answers["blue"]


def answer_of(records: list[dict[str, Any]], request: str) -> tuple[str, dict[str, Any]]:
    """Text and last record of a request."""
    *pieces, last = [record for record in records if record["id"] == request]
    assert last["done"]
    return "".join(piece["text"] for piece in pieces), last
