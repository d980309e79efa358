"""What `convert_base` writes, refuses and leaves alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.base.canonical import TensorFile
from ptefoundry.base.checkpoints import open_checkpoint
from ptefoundry.base.convert import convert_base
from ptefoundry.digest import hash_tree
from ptefoundry.errors import CheckpointError
from support.tiny_checkpoints import save_gguf, save_meta
from support.tiny_models import save_tiny_base


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "base"
    save_tiny_base(folder, tied=False)
    return folder


@pytest.fixture
def base(original: Path, tmp_path: Path) -> Path:
    """A tiny base to be damaged."""
    return Path(shutil.copytree(original, tmp_path / "base"))


def change_tensors(base: Path, change: Callable[[dict[str, Any]], object]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(base / "model.safetensors")
    change(tensors)
    save_file(tensors, base / "model.safetensors")


def change_config(base: Path, **fields: Any) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, **fields}))


def test_folder_has_the_canonical_files(base: Path, tmp_path: Path) -> None:
    convert_base(base, tmp_path / "out")
    found = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert found == {
        "config.json",
        "model.safetensors",
        "tokenizer/tokenizer.json",
        "tokenizer/chat.json",
    }
    with open_checkpoint(base) as checkpoint:
        assert tuple(TensorFile(tmp_path / "out" / "model.safetensors").specs) != ()
        assert set(TensorFile(tmp_path / "out" / "model.safetensors").specs) == set(
            checkpoint.names()
        )
        assert checkpoint.names()[0] == "tok_embeddings.weight"
        assert checkpoint.names()[-2:] == ("norm.weight", "output.weight")


def test_same_source_gives_same_bytes(base: Path, tmp_path: Path) -> None:
    convert_base(base, tmp_path / "one")
    convert_base(base, tmp_path / "two")
    assert hash_tree(tmp_path / "one") == hash_tree(tmp_path / "two")


def test_safetensors_library_reads_what_is_written(base: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    convert_base(base, tmp_path / "out")
    data = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert int.from_bytes(data[:8], "little") % 8 == 0
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    with open_checkpoint(base) as checkpoint:
        for name in checkpoint.names():
            assert torch.equal(tensors[name], checkpoint.read(name)), name


def test_mixed_dtypes_are_kept_and_stay_aligned(base: Path, tmp_path: Path) -> None:
    import torch

    def halve(tensors: dict[str, Any]) -> None:
        for name, tensor in tensors.items():
            if "norm" not in name:
                tensors[name] = tensor.to(torch.bfloat16)

    change_tensors(base, halve)
    convert_base(base, tmp_path / "out")
    file = TensorFile(tmp_path / "out" / "model.safetensors")
    assert file.specs["norm.weight"].dtype == "F32"
    assert file.specs["output.weight"].dtype == "BF16"
    with open_checkpoint(base) as checkpoint:
        for name in checkpoint.names():
            assert torch.equal(file.read(name), checkpoint.read(name)), name


def test_earlier_conversion_is_replaced(base: Path, tmp_path: Path) -> None:
    convert_base(base, tmp_path / "out")
    before = hash_tree(tmp_path / "out")
    change_tensors(base, lambda tensors: tensors["model.norm.weight"].mul_(2))
    convert_base(base, tmp_path / "out")
    assert hash_tree(tmp_path / "out") != before
    assert {path.name for path in tmp_path.iterdir()} == {"base", "out"}


def test_failure_leaves_an_earlier_conversion_as_it_was(base: Path, tmp_path: Path) -> None:
    convert_base(base, tmp_path / "out")
    before = hash_tree(tmp_path / "out")
    change_tensors(base, lambda tensors: tensors["lm_head.weight"][3, 4].fill_(float("nan")))
    with pytest.raises(CheckpointError):
        convert_base(base, tmp_path / "out")
    assert hash_tree(tmp_path / "out") == before
    assert {path.name for path in tmp_path.iterdir()} == {"base", "out"}


def test_folder_with_other_files_is_not_replaced(base: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"out: expected no folder .* found notes\.txt"):
        convert_base(base, tmp_path / "out")
    with pytest.raises(CheckpointError, match="expected no folder"):
        convert_base(base, base)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_weights_that_are_no_numbers_are_refused(
    base: Path, tmp_path: Path, value: float, dtype: str
) -> None:
    import torch

    def damage(tensors: dict[str, Any]) -> None:
        name = "model.layers.1.mlp.up_proj.weight"
        tensors[name] = tensors[name].to(getattr(torch, dtype))
        tensors[name][5, 7] = value

    change_tensors(base, damage)
    with pytest.raises(CheckpointError, match=r"layers\.1\.feed_forward\.w3\.weight: .*NaN"):
        convert_base(base, tmp_path / "out")


def test_missing_and_unknown_tensors_are_all_named(base: Path, tmp_path: Path) -> None:
    def rename(tensors: dict[str, Any]) -> None:
        tensors["model.layers.0.mlp.extra.weight"] = tensors.pop("model.norm.weight")

    change_tensors(base, rename)
    with pytest.raises(CheckpointError, match=r"not expected: model\.layers\.0\.mlp\.extra"):
        convert_base(base, tmp_path / "out")
    change_tensors(base, lambda tensors: tensors.pop("model.layers.0.mlp.extra.weight"))
    with pytest.raises(CheckpointError, match=r"missing: norm\.weight"):
        convert_base(base, tmp_path / "out")


def test_wrong_shape_is_refused(base: Path, tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.k_proj.weight"

    def cut(tensors: dict[str, Any]) -> None:
        tensors[name] = tensors[name][:16].clone()

    change_tensors(base, cut)
    expected = r"k_proj\.weight: found shape \[16, 64\], expected \[32, 64\]"
    with pytest.raises(CheckpointError, match=expected):
        convert_base(base, tmp_path / "out")


def test_wider_dtype_is_refused(base: Path, tmp_path: Path) -> None:
    def widen(tensors: dict[str, Any]) -> None:
        tensors["model.norm.weight"] = tensors["model.norm.weight"].double()

    change_tensors(base, widen)
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight: found dtype F64; supported"):
        convert_base(base, tmp_path / "out")


def test_head_that_repeats_a_tied_table_is_dropped(base: Path, tmp_path: Path) -> None:
    change_config(base, tie_word_embeddings=True)
    with pytest.raises(CheckpointError, match="tie_word_embeddings: found True"):
        convert_base(base, tmp_path / "out")

    def repeat(tensors: dict[str, Any]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    change_tensors(base, repeat)
    convert_base(base, tmp_path / "out")
    assert "output.weight" not in TensorFile(tmp_path / "out" / "model.safetensors").specs


def test_computed_buffers_of_old_checkpoints_are_dropped(base: Path, tmp_path: Path) -> None:
    import torch

    def add(tensors: dict[str, Any]) -> None:
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)

    change_tensors(base, add)
    convert_base(base, tmp_path / "out")
    names = TensorFile(tmp_path / "out" / "model.safetensors").specs
    assert not [name for name in names if "inv_freq" in name]


def test_truncated_file_is_refused(base: Path, tmp_path: Path) -> None:
    path = base / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: expected a complete"):
        convert_base(base, tmp_path / "out")


def test_tokenizer_of_a_larger_base_is_refused(base: Path, tmp_path: Path) -> None:
    change_config(base, vocab_size=399)

    def cut(tensors: dict[str, Any]) -> None:
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensors[name] = tensors[name][:399].clone()

    change_tensors(base, cut)
    with pytest.raises(CheckpointError, match="token 399, but the embedding table has 399 rows"):
        convert_base(base, tmp_path / "out")


def test_index_must_agree_with_its_shards(tmp_path: Path) -> None:
    base = tmp_path / "base"
    save_tiny_base(base, tied=False, max_shard_size="100KB")
    path = base / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    places = list(index["weight_map"].values())
    first = max(places, key=places.count)
    second = next(place for place in places if place != first)
    name = next(name for name, file in index["weight_map"].items() if file == first)

    moved = {**index["weight_map"], name: second}
    path.write_text(json.dumps({"weight_map": moved}))
    with pytest.raises(CheckpointError, match=f"missing: {name} in {second}"):
        open_checkpoint(base)

    forgotten = {key: file for key, file in index["weight_map"].items() if key != name}
    path.write_text(json.dumps({"weight_map": forgotten}))
    with pytest.raises(CheckpointError, match=f"not expected: {name} in {first}"):
        open_checkpoint(base)

    outside = {**index["weight_map"], name: "../model.safetensors"}
    path.write_text(json.dumps({"weight_map": outside}))
    with pytest.raises(CheckpointError, match=r"weight_map: found .*supported: tensor names"):
        open_checkpoint(base)

    (base / first).unlink()
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=f"{first}: expected a complete safetensors file"):
        open_checkpoint(base)


def test_folder_needs_exactly_one_checkpoint(base: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"found none; supported formats: Hugging Face"):
        open_checkpoint(tmp_path)
    save_gguf(base, base)
    with pytest.raises(CheckpointError, match=r"expected one checkpoint, found Hugging Face.*GGUF"):
        open_checkpoint(base)
    (base / "config.json").unlink()
    (base / "second.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match=r"found model\.gguf, second\.gguf; keep one"):
        open_checkpoint(base)


def test_meta_shards_must_be_complete(base: Path, tmp_path: Path) -> None:
    save_meta(base, tmp_path / "meta", shards=2)
    first, second = (tmp_path / "meta" / f"consolidated.0{index}.pth" for index in (0, 1))
    second.unlink()
    with pytest.raises(CheckpointError, match=r"found shape \[200, 64\], expected \[400, 64\]"):
        open_checkpoint(tmp_path / "meta")
    first.rename(second)
    with pytest.raises(CheckpointError, match=r"found consolidated\.01\.pth"):
        open_checkpoint(tmp_path / "meta")
    second.rename(first)
    first.write_bytes(b"not a pickle")
    with pytest.raises(CheckpointError, match=r"consolidated\.00\.pth: expected tensors"):
        open_checkpoint(tmp_path / "meta")


def test_meta_checkpoint_runs_no_code(base: Path, tmp_path: Path) -> None:
    import torch

    save_meta(base, tmp_path / "meta")
    torch.save({"norm.weight": Path("x")}, tmp_path / "meta" / "consolidated.00.pth")
    with pytest.raises(CheckpointError, match=r"expected tensors that torch\.save wrote"):
        open_checkpoint(tmp_path / "meta")
