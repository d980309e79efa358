import pytest

from ptefoundry.base.sources import ADAPTER_FILES, BASE_FILES
from ptefoundry.base.sources.wanted import near_names
from ptefoundry.errors import SourceError

SPEC = "hf:org/name@main"
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        pytest.param(
            ["model.safetensors", "config.json", "README.md", "onnx/model.safetensors"],
            ["config.json", "model.safetensors"],
            id="only what is known, not from sub-folders",
        ),
        pytest.param(
            ["model.safetensors", "original/consolidated.00.pth", "original/params.json"],
            ["model.safetensors"],
            id="safetensors before the original",
        ),
        pytest.param(
            ["model.safetensors", "a.gguf", "b.gguf"],
            ["model.safetensors"],
            id="safetensors before gguf",
        ),
        pytest.param([*SHARDS, INDEX], [*SHARDS, INDEX], id="shards with their index"),
        pytest.param(
            [*SHARDS, INDEX, "model.safetensors"],
            ["model.safetensors"],
            id="one file before shards",
        ),
        pytest.param(
            [*SHARDS, INDEX, "consolidated.safetensors"],
            [*SHARDS, INDEX],
            id="the usual name among several",
        ),
        pytest.param(
            ["model.safetensors", "model.fp16.safetensors", "model.fp16.safetensors.index.json"],
            ["model.safetensors"],
            id="variants are left out with their index",
        ),
        pytest.param(
            ["consolidated.00.pth", "consolidated.01.pth", "params.json", "tokenizer.model"],
            ["consolidated.00.pth", "consolidated.01.pth", "params.json", "tokenizer.model"],
            id="Meta's own download",
        ),
        pytest.param(
            ["tokenizer.json", "original/consolidated.00.pth", "original/tokenizer.model"],
            ["original/consolidated.00.pth", "original/tokenizer.model", "tokenizer.json"],
            id="only the original",
        ),
        pytest.param(["a.gguf", "config.json"], ["a.gguf", "config.json"], id="one gguf"),
        pytest.param(
            ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"],
            ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"],
            id="one gguf in shards",
        ),
    ],
)
def test_one_form_of_a_base(offered: list[str], chosen: list[str]) -> None:
    assert BASE_FILES.choose(offered, spec=SPEC) == tuple(sorted(chosen))


@pytest.mark.parametrize(
    "offered", [["a.gguf", "b.gguf"], ["high.safetensors", "low.safetensors", "config.json"]]
)
def test_several_checkpoints_have_to_be_named(offered: list[str]) -> None:
    with pytest.raises(SourceError, match="expected one checkpoint, found 2") as caught:
        BASE_FILES.choose(offered, spec=SPEC)

    assert str(caught.value).startswith(SPEC)
    assert ", ".join(offered[:2]) in str(caught.value)


def test_no_weights_lists_what_is_there() -> None:
    with pytest.raises(SourceError, match=r"expected a base checkpoint .*found config.json"):
        BASE_FILES.choose(["config.json"], spec=SPEC)


def test_long_lists_are_shortened() -> None:
    with pytest.raises(SourceError, match=r"07\.txt and 92 more"):
        BASE_FILES.choose([f"{number:02}.txt" for number in range(100)], spec=SPEC)


def test_adapter_is_its_two_files() -> None:
    offered = ["adapter_config.json", "adapter_model.safetensors", "optimizer.pt", "README.md"]

    chosen = ADAPTER_FILES.choose(offered, spec=SPEC)

    assert chosen == ("adapter_config.json", "adapter_model.safetensors")


def test_pickled_adapter_is_refused() -> None:
    with pytest.raises(SourceError, match=r"adapter_model.bin can run code.*convert"):
        ADAPTER_FILES.choose(["adapter_config.json", "adapter_model.bin"], spec=SPEC)


@pytest.mark.parametrize("name", ["adapter_model.bin", "model.pt", "weights.ckpt"])
def test_named_pickle_is_refused(name: str) -> None:
    with pytest.raises(SourceError, match="cannot run code"):
        BASE_FILES.check_named(name, spec=SPEC)


@pytest.mark.parametrize("name", ["any.gguf", "any.safetensors", "consolidated.00.pth"])
def test_named_file_needs_no_known_name(name: str) -> None:
    BASE_FILES.check_named(name, spec=SPEC)


def test_near_names() -> None:
    names = ["model.gguf", "config.json", "README.md"]

    assert near_names("modle.gguf", names) == "model.gguf"
    assert near_names("zzz", names) == "README.md, config.json, model.gguf"
    assert near_names("zzz", []) == "nothing"
