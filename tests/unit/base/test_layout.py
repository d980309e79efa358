from dataclasses import replace
from pathlib import Path

import pytest

from ptefoundry.base.checkpoints.gguf import gguf_name
from ptefoundry.base.checkpoints.huggingface import huggingface_name
from ptefoundry.base.layout import check_config, rotary_rows, split_name, tensor_shapes
from ptefoundry.errors import CheckpointError
from support.tiny_adapters import TINY


def test_shapes_are_those_of_the_configuration() -> None:
    shapes = tensor_shapes(TINY)
    assert shapes["tok_embeddings.weight"] == (32, 16)
    assert shapes["layers.1.attention.wk.weight"] == (8, 16)
    assert shapes["layers.0.feed_forward.w2.weight"] == (16, 24)
    assert "output.weight" not in shapes
    assert len(shapes) == 2 + 2 * 9


def test_architectures_add_tensors() -> None:
    untied = tensor_shapes(replace(TINY, tied_embeddings=False))
    assert untied["output.weight"] == (32, 16)
    biased = tensor_shapes(replace(TINY, qkv_bias=True))
    assert biased["layers.0.attention.wv.bias"] == (8,)
    assert "layers.0.attention.wo.bias" not in biased
    normed = tensor_shapes(replace(TINY, qk_norm=True))
    assert normed["layers.0.attention.k_norm_fn.weight"] == (4,)


def test_order_is_that_of_use() -> None:
    names = list(tensor_shapes(replace(TINY, tied_embeddings=False)))
    assert names[0] == "tok_embeddings.weight"
    assert names[1] == "layers.0.attention_norm.weight"
    assert names[-2:] == ["norm.weight", "output.weight"]


def test_only_q_and_k_rows_rotate() -> None:
    config = replace(TINY, qkv_bias=True, qk_norm=True)
    rotating = {name: rotary_rows(config, name) for name in tensor_shapes(config)}
    found = {name: heads for name, heads in rotating.items() if heads and ".0." in name}
    assert found == {
        "layers.0.attention.wq.weight": 4,
        "layers.0.attention.wq.bias": 4,
        "layers.0.attention.wk.weight": 2,
        "layers.0.attention.wk.bias": 2,
        "layers.0.attention.q_norm_fn.weight": 1,
        "layers.0.attention.k_norm_fn.weight": 1,
    }


def test_names_are_taken_apart() -> None:
    assert split_name("layers.13.attention.wq.bias") == (13, "attention.wq", "bias")
    assert split_name("norm.weight") == (None, "norm", "weight")


def test_other_formats_have_their_names() -> None:
    name = "layers.3.attention.q_norm_fn.weight"
    assert huggingface_name(name) == "model.layers.3.self_attn.q_norm.weight"
    assert gguf_name(name) == "blk.3.attn_q_norm.weight"
    assert huggingface_name("layers.0.feed_forward.w1.weight").endswith("mlp.gate_proj.weight")
    assert gguf_name("layers.0.feed_forward.w3.weight") == "blk.0.ffn_up.weight"
    assert huggingface_name("output.weight") == "lm_head.weight"


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_kv_heads": 3}, "4 heads over 3 key/value heads"),
        ({"head_dim": 5}, "odd head size of 5"),
        ({"n_layers": 10**6}, "1000000 layers, more than 4096"),
    ],
)
def test_impossible_sizes_are_refused(sizes: dict[str, int], message: str) -> None:
    config = replace(TINY, **sizes)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=f"base/config.json: .*{message}"):
        check_config(config, Path("base/config.json"))
