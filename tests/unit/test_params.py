from pathlib import Path

import pytest

from ptefoundry.errors import ConfigError
from ptefoundry.params import load_params
from ptefoundry.schemes import EmbeddingScheme, HalfScheme, LinearScheme, Schemes

VALID = """\
bundle:
  name: assistant
base:
  name: org/model
  source: file:model
adapters:
  nobel:
    source: file:nobel
backends:
  xnnpack:
    context_length: 128
smoke:
  prompts:
    - hello
"""


def _load(folder: Path, text: str):
    (folder / "params.yaml").write_text(text)
    return load_params(folder)


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    params = _load(tmp_path, VALID)
    assert params.backends.xnnpack.context_length == 128
    assert params.backends.xnnpack.prefill == 128
    assert params.backends.xnnpack.dtype == "fp32"
    assert params.backends.xnnpack.schemes.embedding is None
    assert not params.backends.xnnpack.schemes.any
    assert params.smoke.tokens == 32
    assert params.adapters["nobel"].digest is None


@pytest.mark.parametrize(
    ("text", "bits", "group"), [("8,0", 8, 0), ("4,32", 4, 32), ("4,0", 4, 0), ("8,128", 8, 128)]
)
def test_embedding_says_bits_and_group(tmp_path: Path, text: str, bits: int, group: int) -> None:
    params = _load(tmp_path, VALID.replace("context_length: 128", f"embedding: {text}"))
    scheme = params.backends.xnnpack.schemes.embedding
    assert scheme == EmbeddingScheme(bits=bits, group=group)
    assert params.backends.xnnpack.schemes.any


@pytest.mark.parametrize(
    ("text", "linear", "head"),
    [
        ("linear: 8da4w,32", 32, 32),
        ("linear: 8da4w,64\n    head: none", 64, None),
        ("linear: 8da4w,128\n    head: 8da4w,32", 128, 32),
        ("head: 8da4w,32", None, 32),
        ("head: none", None, None),
    ],
)
def test_head_is_quantized_as_the_linears_unless_said(
    tmp_path: Path, text: str, linear: int | None, head: int | None
) -> None:
    schemes = _load(tmp_path, VALID.replace("context_length: 128", text)).backends.xnnpack.schemes
    expected = [group and LinearScheme(bits=4, group=group) for group in (linear, head)]
    assert schemes == Schemes(linear=expected[0], head=expected[1])
    assert schemes.any == bool(linear or head)


def test_halves_are_a_form_of_table_linears_and_head(tmp_path: Path) -> None:
    text = "embedding: fp16\n    linear: fp16"
    schemes = _load(tmp_path, VALID.replace("context_length: 128", text)).backends.xnnpack.schemes
    assert schemes == Schemes(embedding=HalfScheme(), linear=HalfScheme(), head=HalfScheme())
    assert str(schemes.head) == "fp16"
    assert schemes.any
    assert not schemes.quantizes_activations
    text = "linear: fp16\n    head: 8da8w,0"
    schemes = _load(tmp_path, VALID.replace("context_length: 128", text)).backends.xnnpack.schemes
    assert schemes == Schemes(linear=HalfScheme(), head=LinearScheme(bits=8, group=0))
    assert schemes.quantizes_activations


def test_eight_bit_weights_have_a_scale_a_row(tmp_path: Path) -> None:
    text = "linear: 8da4w,64\n    head: 8da8w,0"
    schemes = _load(tmp_path, VALID.replace("context_length: 128", text)).backends.xnnpack.schemes
    assert schemes.head == LinearScheme(bits=8, group=0)
    assert (str(schemes.linear), str(schemes.head)) == ("8da4w,64", "8da8w,0")


def test_long_context_reads_512_tokens_a_call(tmp_path: Path) -> None:
    params = _load(tmp_path, VALID.replace("128", "4096"))
    assert params.backends.xnnpack.prefill == 512


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "source: file:model",
            "sauce: file:model",
            "params.yaml:5: base.sauce: expected only",
        ),
        ("  name: org/model\n", "", "base.name: expected this key, found none"),
        ("context_length: 128", "context_length: many", "params.yaml:11: backends.xnnpack.context"),
        ("context_length: 128", "context_length: true", "params.yaml:11: backends.xnnpack.context"),
        ("context_length: 128", "context_length: 1", "expected at least 2 tokens, found 1"),
        ("context_length: 128", "prefill_length: 4096", "expected 2 to the context_length of 1024"),
        ("context_length: 128", "dtype: int3", "11: backends.xnnpack.dtype: expected fp32, found"),
        ("context_length: 128", "dtype: bf16", "set linear: fp16 and embedding: fp16"),
        *(
            (
                "context_length: 128",
                f"embedding: {wrong}",
                "11: backends.xnnpack.embedding: expected",
            )
            for wrong in ("2,32", "4,-1", "4,032", "int8", "'8, 0'", "''")
        ),
        ("context_length: 128", "embedding: 8", "params.yaml:11: backends.xnnpack.embedding"),
        *(
            (
                "context_length: 128",
                f"linear: {wrong}",
                "11: backends.xnnpack.linear: expected none",
            )
            for wrong in (
                "8da4w",
                "8da4w,0",
                "8da4w,16",
                "8da4w,48",
                "4w,32",
                "same",
                "'8da4w, 32'",
            )
        ),
        ("context_length: 128", "head: fp32", "11: backends.xnnpack.head: expected same, none"),
        ("  xnnpack:", "  vulkan:", "params.yaml:10: backends.vulkan: expected only known keys"),
        ("    - hello", "    []", "smoke.prompts"),
        ("    - hello\n", "    - hello\n  tokens: 128\n", "less than the context_length of 128"),
        (
            "  nobel:",
            "  forward:",
            "params.yaml:7: adapters.forward: adapter name 'forward' is",
        ),
        ("  nobel:", "  No bel:", "expected an adapter name of the form"),
        ("source: file:nobel", "source: ftp:nobel", "params.yaml:8: adapters.nobel.source"),
        ("source: file:nobel", "source: file:nobel\n    digest: abc", "expected a sha256 digest"),
        ("name: assistant", "name: My Assistant", "params.yaml:2: bundle.name: expected [a-z0-9]"),
    ],
)
def test_mistakes_are_refused_with_line_and_field(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in VALID
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, VALID.replace(old, new))
    assert expected in str(caught.value)


def test_all_type_errors_are_listed(tmp_path: Path) -> None:
    text = VALID.replace("file:model", "1").replace("context_length: 128", "dtype: 3")
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert "base.source" in str(caught.value)
    assert "backends.xnnpack.dtype" in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n", "just text\n", "a: [1,\n"])
def test_other_documents_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"params\.yaml"):
        _load(tmp_path, text)


def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ptefoundry init"):
        load_params(tmp_path)
