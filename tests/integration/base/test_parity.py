"""A converted base computes what transformers computes with the original."""

from pathlib import Path
from typing import Any

import pytest

from ptefoundry.base.config import RopeScaling, load_config
from ptefoundry.base.convert import convert_base
from support.tiny_checkpoints import save_gguf, save_meta
from support.tiny_models import ARCHITECTURES, LLAMA3_SCALING, save_tiny_base

TOLERANCE = 1e-3
CONTEXT = 160
"""Beyond the 64 tokens after which the tests' scaled RoPE differs most."""

SCALED = {"rope_parameters": {"rope_theta": 10000.0, **LLAMA3_SCALING}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bases")


def made(folders: Path, name: str, architecture: str, **settings: Any) -> Path:
    """A tiny base, written once for all tests that ask for it."""
    folder = folders / name
    if not folder.exists():
        save_tiny_base(folder, architecture, **settings)
    return folder


def difference(original: Any, converted: Path) -> float:
    """Largest difference of two models' logits at any of `CONTEXT` positions."""
    import torch

    from ptefoundry.model.eager import load_model

    generator = torch.Generator().manual_seed(7)
    tokens = torch.randint(3, 300, (1, CONTEXT), generator=generator)
    model = load_model(converted, context=CONTEXT, all_logits=True)
    with torch.no_grad():
        expected = original(tokens).logits[0]
        found = model(tokens, torch.tensor([0])).reshape(expected.shape)
    assert expected.isfinite().all()
    assert expected.std() > 0.1, "logits too small to show a difference"
    return float((expected - found).abs().max())


def load_original(folder: Path, **settings: Any) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **settings).eval()


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_equal_transformers(
    folders: Path, tmp_path: Path, architecture: str, tied: bool
) -> None:
    base = made(folders, f"{architecture}-{tied}", architecture, tied=tied)
    convert_base(base, tmp_path / "out")
    assert difference(load_original(base), tmp_path / "out") <= TOLERANCE


def test_logits_equal_with_llama3_rope_scaling(folders: Path, tmp_path: Path) -> None:
    base = made(folders, "scaled", "LlamaForCausalLM", **SCALED)
    convert_base(base, tmp_path / "out")
    assert difference(load_original(base), tmp_path / "out") <= TOLERANCE
    plain = made(folders, "LlamaForCausalLM-True", "LlamaForCausalLM")
    assert difference(load_original(plain), tmp_path / "out") > 0.1, "scaling does not show"


def test_logits_equal_with_transformers_4_configuration(folders: Path, tmp_path: Path) -> None:
    import json
    import shutil

    base = made(folders, "scaled", "LlamaForCausalLM", **SCALED)
    old = tmp_path / "old"
    shutil.copytree(base, old)
    config = json.loads((old / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    (old / "config.json").write_text(json.dumps(config))
    convert_base(old, tmp_path / "out")
    assert difference(load_original(old), tmp_path / "out") <= TOLERANCE


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_equal_from_half_precision(tmp_path: Path, architecture: str, dtype: str) -> None:
    save_tiny_base(tmp_path / "base", architecture, dtype=dtype)
    convert_base(tmp_path / "base", tmp_path / "out")
    assert difference(load_original(tmp_path / "base"), tmp_path / "out") <= TOLERANCE


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_shards_give_the_bytes_of_one_file(
    folders: Path, tmp_path: Path, architecture: str
) -> None:
    base = made(folders, f"{architecture}-False", architecture, tied=False)
    save_tiny_base(tmp_path / "shards", architecture, tied=False, max_shard_size="100KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    convert_base(base, tmp_path / "one")
    convert_base(tmp_path / "shards", tmp_path / "many")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_meta_checkpoint_gives_the_bytes_of_hugging_face(
    folders: Path, tmp_path: Path, tied: bool, shards: int
) -> None:
    base = made(folders, f"LlamaForCausalLM-{tied}", "LlamaForCausalLM", tied=tied)
    save_meta(base, tmp_path / "meta", shards=shards)
    convert_base(base, tmp_path / "one")
    convert_base(tmp_path / "meta", tmp_path / "other")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_meta_checkpoint_with_scaled_rope_has_llama_3_2_scaling(
    folders: Path, tmp_path: Path
) -> None:
    base = made(folders, "LlamaForCausalLM-True", "LlamaForCausalLM")
    save_meta(base, tmp_path / "meta", repeat_tied=True, use_scaled_rope=True)
    convert_base(tmp_path / "meta", tmp_path / "out")
    config = load_config(tmp_path / "out" / "config.json")
    assert config.tied_embeddings
    assert config.rope_scaling == RopeScaling(
        factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context=8192
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gguf_gives_the_bytes_of_hugging_face(
    folders: Path, tmp_path: Path, architecture: str
) -> None:
    base = made(folders, f"{architecture}-False", architecture, tied=False)
    save_gguf(base, tmp_path / "gguf")
    convert_base(base, tmp_path / "one")
    convert_base(tmp_path / "gguf", tmp_path / "other")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_gguf_with_rope_factors_computes_the_original(folders: Path, tmp_path: Path) -> None:
    base = made(folders, "scaled", "LlamaForCausalLM", **SCALED)
    save_gguf(base, tmp_path / "gguf")
    convert_base(tmp_path / "gguf", tmp_path / "out")
    assert difference(load_original(base), tmp_path / "out") <= TOLERANCE
    scaling = load_config(tmp_path / "out" / "config.json").rope_scaling
    assert scaling == RopeScaling(
        factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context=64
    )


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Qwen2ForCausalLM"])
def test_gguf_logits_equal_transformers_own_loader(
    folders: Path, tmp_path: Path, architecture: str, kind: str
) -> None:
    base = made(folders, f"{architecture}-False", architecture, tied=False)
    path = save_gguf(base, tmp_path / "gguf", kind=kind)
    convert_base(path.parent, tmp_path / "out")
    original = load_original(path.parent, gguf_file=path.name)
    assert difference(original, tmp_path / "out") <= TOLERANCE
