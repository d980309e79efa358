"""Converted adapters compute what PEFT computes from the same files.

Each test also asks that the adapter changes the base's logits by far more than
the tolerance, so that an adapter that does nothing cannot pass.
"""

import pytest

from support.adapter_parity import (
    TOLERANCE,
    base_logits,
    convert,
    difference,
    make_base,
    our_logits,
    peft_logits,
)
from support.tiny_adapters import edit_fields, rename_tensors, save_peft_adapter

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
Q1 = "model.layers.1.self_attn.q_proj"

FEATURES = {
    "all seven linears": {"target_modules": ALL},
    "attention only": {"target_modules": ALL[:4]},
    "mlp only": {"target_modules": ALL[4:]},
    "q and k only": {"target_modules": ["q_proj", "k_proj"]},
    "one linear": {"target_modules": ["k_proj"]},
    "one module": {"target_modules": [Q1]},
    "rank 1": {"target_modules": ALL, "r": 1},
    "rank above the width": {"target_modules": ALL, "r": 96},
    "rslora": {"target_modules": ALL, "use_rslora": True},
    "float alpha": {"target_modules": ALL, "lora_alpha": 13.7},
    "negative alpha": {"target_modules": ALL, "lora_alpha": -5},
    "alpha_pattern": {"target_modules": ALL, "alpha_pattern": {"q_proj": 31.5, "1.mlp.*": 2}},
    "rank_pattern": {"target_modules": ALL, "rank_pattern": {f"^{Q1}": 7, "q_proj|k_proj": 16}},
    "patterns and rslora": {
        "target_modules": ALL,
        "use_rslora": True,
        "rank_pattern": {"v_proj": 2, "layers.0.self_attn.k_proj": 32},
        "alpha_pattern": {".*layers.0.*": 0.5, "v_proj": 24},
    },
    "regular expression": {"target_modules": r".*\.(self_attn\.[qk]_proj|mlp\.up_proj)"},
    "all-linear": {"target_modules": "all-linear"},
    "one layer": {"target_modules": ALL, "layers_to_transform": 1},
    "some layers": {"target_modules": ALL, "layers_to_transform": [0], "layers_pattern": "layers"},
    "exclude_modules": {"target_modules": ALL, "exclude_modules": ["k_proj", Q1]},
    "exclude by expression": {"target_modules": ALL, "exclude_modules": r".*\.0\..*proj"},
    "dropout": {"target_modules": ALL, "lora_dropout": 0.5},
    "initial gaussian": {"target_modules": ALL, "init_lora_weights": "gaussian"},
    "initial orthogonal": {"target_modules": ALL, "init_lora_weights": "orthogonal"},
    "initial mica": {"target_modules": ALL, "init_lora_weights": "mica"},
    "initial eva": {"target_modules": ALL, "init_lora_weights": "eva"},
    "initial random": {"target_modules": ALL, "init_lora_weights": False},
    "bfloat16": {"target_modules": ALL, "dtype": "bfloat16"},
    "float16": {"target_modules": ALL, "dtype": "float16"},
}


def assert_same_as_peft(base, adapter):
    expected = peft_logits(base, adapter)
    error = difference(our_logits(base, convert(base, adapter)), expected)
    effect = difference(base_logits(base), expected)
    assert error <= TOLERANCE
    assert effect > 100 * TOLERANCE


@pytest.mark.parametrize("feature", FEATURES)
def test_feature(base, feature, tmp_path):
    save_peft_adapter(base.source, tmp_path / "adapter", **FEATURES[feature])
    assert_same_as_peft(base, tmp_path / "adapter")


def test_targets_written_as_all_linear(base, tmp_path):
    # PEFT writes the names that it found; people write the shorthand.
    save_peft_adapter(base.source, tmp_path / "adapter", target_modules="all-linear")
    edit_fields(tmp_path / "adapter", target_modules="all-linear")
    assert_same_as_peft(base, tmp_path / "adapter")


SPELLINGS = {
    "with adapter name": lambda name: name.replace(".weight", ".default.weight"),
    "without PEFT's prefix": lambda name: name.removeprefix("base_model.model."),
    "of the bare model": lambda name: name.replace("base_model.model.model.", "base_model.model."),
    "without any prefix": lambda name: name.removeprefix("base_model.model.model."),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spelling_of_names(base, spelling, tmp_path):
    adapter = tmp_path / "adapter"
    save_peft_adapter(base.source, adapter, target_modules=ALL)
    original = peft_logits(base, adapter)
    rename_tensors(adapter, SPELLINGS[spelling])
    assert_same_as_peft(base, adapter)
    assert difference(peft_logits(base, adapter), original) == 0


def test_untied_base(tmp_path):
    base = make_base(tmp_path, tied=False, seed=3)
    save_peft_adapter(base.source, tmp_path / "adapter", target_modules="all-linear")
    assert_same_as_peft(base, tmp_path / "adapter")


# The proofs above can fail: each of these conversions leaves out one step.


def test_without_the_permutation_it_is_wrong(base, tmp_path, monkeypatch):
    save_peft_adapter(base.source, tmp_path / "adapter", target_modules=["q_proj", "k_proj"])
    monkeypatch.setattr("ptefoundry.rotary.half_to_interleaved", lambda rows, _heads: rows)
    error = difference(
        our_logits(base, convert(base, tmp_path / "adapter")),
        peft_logits(base, tmp_path / "adapter"),
    )
    assert error > 100 * TOLERANCE


@pytest.mark.parametrize(
    "change", [{"use_rslora": False}, {"alpha_pattern": {}}, {"lora_alpha": 8.1}]
)
def test_with_another_scale_it_is_wrong(base, change, tmp_path):
    adapter, other = tmp_path / "adapter", tmp_path / "other"
    settings = {"use_rslora": True, "alpha_pattern": {"q_proj": 1}, "lora_alpha": 8}
    for folder in (adapter, other):
        save_peft_adapter(base.source, folder, target_modules=ALL, **settings)
    edit_fields(other, **change)
    error = difference(our_logits(base, convert(base, other)), peft_logits(base, adapter))
    assert error > 10 * TOLERANCE
