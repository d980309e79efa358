import importlib.util
from pathlib import Path

import pytest

from ptefoundry.coreml.answering import answer_prompts
from ptefoundry.coreml.build import build_program
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.errors import MissingToolError


@pytest.mark.parametrize("package", ["executorch", "coremltools", "torchao"])
def test_a_missing_package_is_named_before_anything_is_read(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    with pytest.raises(MissingToolError, match=f"found none; install it: pip install {package}"):
        build_program(tmp_path / "none", {}, CoremlParams(), tmp_path / "program")
    assert not (tmp_path / "program").exists()


@pytest.mark.parametrize("package", ["executorch", "tokenizers"])
def test_a_package_that_an_answer_needs_is_named(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    with pytest.raises(MissingToolError, match=f"found none; install it: pip install {package}"):
        next(answer_prompts(tmp_path / "program.pte", tmp_path, ["base"], ["one"]))
