import re
from dataclasses import replace

import pytest

from ptefoundry.adapter.fit import canonical_path, fit_adapter
from ptefoundry.adapter.read import read_adapter
from ptefoundry.errors import AdapterError
from support.tiny_adapters import TINY, filled, fp32, lora_tensors, write_adapter

Q0 = "base_model.model.model.layers.0.self_attn.q_proj"


def fit(folder, config=TINY, *, base_name=None, **changes):
    adapter = read_adapter(write_adapter(folder, **changes))
    return fit_adapter(adapter, config, base_name=base_name)


def refusal_of(folder, config=TINY, **changes):
    with pytest.raises(AdapterError) as caught:
        fit(folder, config, **changes)
    return str(caught.value)


def test_canonical_paths():
    assert canonical_path("model.layers.3.self_attn.q_proj") == "layers.3.attention.wq"
    assert canonical_path("model.layers.10.mlp.down_proj") == "layers.10.feed_forward.w2"


def test_a_good_adapter_fits(tmp_path):
    fitted = fit(tmp_path)
    assert fitted.warnings == ()
    assert [module.path for module in fitted.modules] == [
        "layers.0.attention.wq",
        "layers.0.attention.wv",
        "layers.1.attention.wq",
        "layers.1.attention.wv",
    ]
    q, v = fitted.modules[:2]
    assert (q.rank, q.scale, q.half_heads) == (2, 2.0, 4)
    assert (v.rank, v.scale, v.half_heads) == (2, 2.0, None)
    assert q.lora_b.shape == (16, 2)


def test_rows_of_k_are_counted_by_its_own_heads(tmp_path):
    fitted = fit(tmp_path, tensors=lora_tensors(["k_proj"]), target_modules=["k_proj"])
    assert fitted.modules[0].half_heads == 2


def test_only_torchtunes_llama_has_its_rows_in_order(tmp_path):
    tensors = {
        f"layers.{layer}.attn.q_proj.lora_{x}.weight": fp32(*shape)
        for layer in (0, 1)
        for x, shape in (("a", (2, 16)), ("b", (16, 2)))
    }
    settings = {"tensors": tensors, "target_modules": ["q_proj"]}
    assert fit(tmp_path, **settings).modules[0].half_heads is None
    qwen = replace(TINY, architecture="Qwen3ForCausalLM", qk_norm=True)
    assert fit(tmp_path, qwen, **settings).modules[0].half_heads == 4


def test_missing_modules_are_refused_by_name(tmp_path):
    text = refusal_of(tmp_path, target_modules=["q_proj", "v_proj", "o_proj"])
    assert "adapter_model.safetensors: tensors: found no matrices of" in text
    assert "model.layers.0.self_attn.o_proj, model.layers.1.self_attn.o_proj;" in text


def test_modules_that_peft_would_leave_out_are_refused_by_name(tmp_path):
    text = refusal_of(tmp_path, target_modules=["q_proj"])
    assert "found matrices that PEFT would leave out: model.layers.0.self_attn.v_proj" in text


@pytest.mark.parametrize(
    "changes", [{"layers_to_transform": [1]}, {"exclude_modules": r".*layers\.0\..*"}]
)
def test_limits_of_targets_are_compared_with_the_tensors(tmp_path, changes):
    text = refusal_of(tmp_path / "a", **changes)
    assert "leave out: model.layers.0.self_attn.q_proj, model.layers.0.self_attn.v_proj" in text
    assert len(fit(tmp_path / "b", tensors=lora_tensors(layers=[1]), **changes).modules) == 2


def test_layers_that_the_base_lacks_are_refused(tmp_path):
    text = refusal_of(tmp_path, tensors=lora_tensors(layers=[0, 1, 2]))
    assert "found modules that the base lacks: model.layers.2.self_attn.q_proj" in text
    assert "supported: layers 0 to 1; the adapter is of another base" in text


def test_layers_that_the_adapter_lacks_are_refused(tmp_path):
    text = refusal_of(tmp_path, replace(TINY, n_layers=3))
    assert "no matrices of model.layers.2.self_attn.q_proj" in text


def test_shapes_of_another_base_are_refused(tmp_path):
    text = refusal_of(tmp_path, replace(TINY, dim=32, n_heads=8))
    assert f"{Q0}.lora_A.weight [2, 16] instead of [2, 32]" in text
    assert f"{Q0}.lora_B.weight [16, 2] instead of [32, 2]" in text


@pytest.mark.parametrize("name", ["embed_tokens", "lm_head", "norm", "self_attn", "q_norm"])
def test_targets_that_are_no_linears_of_a_layer_are_refused(tmp_path, name):
    config = replace(TINY, architecture="Qwen3ForCausalLM", qk_norm=True)
    text = refusal_of(tmp_path, config, target_modules=["q_proj", "v_proj", name])
    assert "adapter_config.json: target_modules: found" in text
    assert re.search(rf"which matches (model\.[a-z0-9._]*)?\b{name}", text)
    assert "supported: linears of decoder layers: self_attn.q_proj" in text


def test_targets_that_match_nothing_are_refused(tmp_path):
    text = refusal_of(tmp_path, target_modules=["c_attn"])
    assert 'target_modules: found ["c_attn"], which matches none of the base\'s linears' in text


def test_another_base_name_is_a_warning_with_both_names(tmp_path):
    (warning,) = fit(tmp_path, base_name="other/base").warnings
    assert "'example/tiny'" in warning
    assert "'other/base'" in warning
    assert fit(tmp_path, base_name="example/tiny").warnings == ()
    assert fit(tmp_path, base_name="x", base_model_name_or_path=None).warnings == ()


@pytest.mark.parametrize("field", ["rank_pattern", "alpha_pattern"])
def test_patterns_that_match_nothing_are_a_warning(tmp_path, field):
    (warning,) = fit(tmp_path, **{field: {"q_proj": 2, "o_proj": 2, "gate": 2}}).warnings
    assert warning == f"adapter_config.json: {field}: matches no module: o_proj, gate"


def test_patterns_of_which_the_order_decides_are_a_warning(tmp_path):
    patterns = {"q_proj": 4, "layers.0.*": 8, "v_proj": 8}
    (warning,) = fit(tmp_path, alpha_pattern=patterns).warnings
    assert warning == (
        "adapter_config.json: alpha_pattern: the first pattern counts for "
        "model.layers.0.self_attn.q_proj by q_proj, layers.0.*"
    )


def test_an_untrained_adapter_is_a_warning(tmp_path):
    tensors = lora_tensors()
    tensors[f"{Q0}.lora_B.weight"] = filled(tensors[f"{Q0}.lora_B.weight"], bytes(4))
    (warning,) = fit(tmp_path, tensors=tensors).warnings
    assert "changes nothing" in warning
    assert f"{Q0}.lora_B.weight" in warning


def test_a_scale_of_zero_is_a_warning(tmp_path):
    (warning,) = fit(tmp_path, lora_alpha=0).warnings
    assert "lora_alpha: is 0 for model.layers.0.self_attn.q_proj" in warning


def test_all_misfits_are_told(tmp_path):
    tensors = lora_tensors(["q_proj", "v_proj"], layers=[0, 7])
    text = refusal_of(
        tmp_path, replace(TINY, dim=32), tensors=tensors, target_modules=["q_proj", "lm_head"]
    )
    parts = ("matches lm_head", "no matrices of", "the base lacks", "leave out", "other shapes")
    for part in parts:
        assert part in text
