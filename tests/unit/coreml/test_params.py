from pathlib import Path

import pytest

from ptefoundry.errors import ConfigError
from ptefoundry.params import load_params

TEXT = """\
bundle:
  name: assistant
base:
  name: org/model
  source: file:model
adapters: {adapters}
backends:
  xnnpack: {{}}
{coreml}
smoke:
  prompts:
    - hello
"""


def _load(folder: Path, coreml: str, adapters: str = "{}"):
    text = TEXT.format(adapters=adapters, coreml=coreml)
    (folder / "params.yaml").write_text(text)
    return load_params(folder).backends.coreml


def test_without_the_section_nothing_is_built(tmp_path: Path) -> None:
    assert _load(tmp_path, "") is None


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    coreml = _load(tmp_path, "  coreml: {}")
    assert coreml is not None
    assert (coreml.context_length, coreml.input_length, coreml.dtype) == (1024, 32, "fp16")
    assert (coreml.embedding_scheme, coreml.linear) == (None, "none")


@pytest.mark.parametrize("multifunction", ["true", "false"])
def test_caches_hold_all_but_the_last_token(tmp_path: Path, multifunction: str) -> None:
    options = f"{{context_length: 64, input_length: 16, multifunction: {multifunction}}}"
    coreml = _load(tmp_path, f"  coreml: {options}")
    assert coreml is not None
    assert coreml.cache_length == 63


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("context: 64", "backends.coreml.context: expected only known keys"),
        ("context_length: 2", "backends.coreml.context_length: expected at least 3"),
        ("input_length: 1", "backends.coreml.input_length: expected 2 to less than"),
        ("context_length: 32", "backends.coreml.input_length: expected 2 to less than"),
        ("dtype: bf16", "backends.coreml.dtype: "),
        ("embedding: '3,0'", "backends.coreml.embedding: expected none, or"),
        ("linear: 8da4w,32", "backends.coreml.linear: "),
        ("split_size: 0", "backends.coreml.split_size: expected at least 1"),
        ("max_splits: 0", "backends.coreml.max_splits: expected at least 1"),
        ("deployment_target: iOS17", "backends.coreml.deployment_target: "),
        ("compute_units: gpu", "backends.coreml.compute_units: "),
    ],
)
def test_what_cannot_be_built_is_refused(tmp_path: Path, options: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, f"  coreml: {{{options}}}")
    assert f"params.yaml:9: {named}" in str(caught.value)


def test_names_of_adapters_that_collide_are_refused(tmp_path: Path) -> None:
    adapters = "{a: {source: 'file:a'}, a_forward: {source: 'file:b'}}"
    assert _load(tmp_path, "", adapters) is None
    with pytest.raises(ConfigError, match=r"params.yaml:6: adapters.a_forward: expected another"):
        _load(tmp_path, "  coreml: {}", adapters)


def test_an_answer_must_fit_into_the_context(tmp_path: Path) -> None:
    # The answers of a smoke run have 32 tokens, unless params.yaml says otherwise.
    assert _load(tmp_path, "  coreml: {context_length: 33, input_length: 8}") is not None
    with pytest.raises(ConfigError, match=r"smoke.tokens: expected 1 to less than .* of 32"):
        _load(tmp_path, "  coreml: {context_length: 32, input_length: 8}")
