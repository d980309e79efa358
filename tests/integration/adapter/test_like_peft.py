"""Our tables and matching rules against the installed PEFT's own code."""

import copy
import dataclasses
import json
import warnings
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptefoundry.adapter.fields import HANDLED, HARMLESS, ONLY, check_fields
from ptefoundry.adapter.options import parse_options
from ptefoundry.adapter.targets import linear_names, module_names, targeted_modules
from support.tiny_adapters import TINY
from support.tiny_models import ARCHITECTURES, tiny_config

LAST_PARTS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TARGETS = st.one_of(
    st.lists(
        st.sampled_from(
            [
                *LAST_PARTS,
                "self_attn.q_proj",
                "mlp.up_proj",
                "1.self_attn.v_proj",
                "layers.0.mlp.down_proj",
                "model.layers.0.self_attn.q_proj",
                "nothing",
                "proj",
            ]
        ),
        min_size=1,
        max_size=6,
        unique=True,
    ),
    st.sampled_from(
        [
            "all-linear",
            ".*_proj",
            ".*q_proj|.*k_proj",
            r"model\.layers\.[01]\..*up_proj",
            r"(?:.*?(?:self_attn|mlp).*?(?:v_proj|down_proj).*?)|\bmodel\.layers\.\d+\.mlp\.gate_proj",
            "q_proj",
        ]
    ),
)
EXCLUDED = st.none() | st.sampled_from(
    [["q_proj"], ["self_attn.k_proj", "down_proj"], r".*layers\.2\..*", r".*\.mlp\..*", ["lm_head"]]
)
PATTERNS = st.sampled_from(
    [
        "q_proj",
        "[kv]_proj",
        ".*layers.1.*",
        "^model.layers.0.self_attn.q_proj",
        "layers.2.mlp.up_proj|o_proj",
        "mlp.*",
        "proj",
    ]
)


def random_fields(draw):
    targets = draw(TARGETS)
    fields = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "target_modules": targets,
        "exclude_modules": draw(EXCLUDED),
        "r": draw(st.integers(1, 9)),
        "lora_alpha": draw(st.integers(-3, 64) | st.floats(-3, 64)),
        "use_rslora": draw(st.booleans()),
        "rank_pattern": draw(st.dictionaries(PATTERNS, st.integers(1, 9), max_size=3)),
        "alpha_pattern": draw(st.dictionaries(PATTERNS, st.floats(0.5, 64), max_size=3)),
    }
    full = isinstance(targets, list) and any(name.startswith("model.") for name in targets)
    if isinstance(targets, list) and not full:
        layers = st.integers(0, 4) | st.lists(st.integers(0, 4), max_size=3, unique=True)
        fields["layers_to_transform"] = draw(st.none() | layers)
        if fields["layers_to_transform"] is not None:
            patterns = st.sampled_from([None, "layers", ["h", "layers"], "h", "laye.s"])
            fields["layers_pattern"] = draw(patterns)
    return fields


@pytest.fixture(scope="module")
def empty_models():
    """Models of three layers without memory for weights, with our configuration of them."""
    import torch
    from transformers import AutoModelForCausalLM

    models = {}
    for architecture in ARCHITECTURES:
        config = tiny_config(architecture, num_hidden_layers=3, tie_word_embeddings=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        qk_norm = architecture == "Qwen3ForCausalLM"
        ours = replace(TINY, architecture=architecture, n_layers=3, qk_norm=qk_norm)
        models[architecture] = model, ours
    return models


def adapted_by_peft(model, fields):
    """Rank and scale of each module that PEFT adapts, empty if it refuses."""
    from peft import LoraConfig, LoraModel
    from peft.tuners.lora import LoraLayer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            adapted = LoraModel(copy.deepcopy(model), LoraConfig(**fields), "default")
        except ValueError:
            return {}
    return {
        name: (module.r["default"], module.scaling["default"])
        for name, module in adapted.model.named_modules()
        if isinstance(module, LoraLayer)
    }


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_modules_ranks_and_scales_are_those_of_peft(empty_models, data):
    model, config = empty_models[data.draw(st.sampled_from(ARCHITECTURES))]
    # What PEFT sees is what it reads from the file.
    fields = json.loads(json.dumps(random_fields(data.draw)))
    expected = adapted_by_peft(model, fields)
    options, problems = parse_options(fields)
    assert problems == []
    targets = targeted_modules(options, config)
    ours = {name: (options.rank_of(name), options.scale_of(name)) for name in targets}
    assert ours == expected


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_names_of_modules_are_those_of_transformers(empty_models, architecture):
    import torch

    model, config = empty_models[architecture]
    named = dict(model.named_modules())
    linears = {name for name, module in named.items() if isinstance(module, torch.nn.Linear)}
    assert sorted(module_names(config)) == sorted(name for name in named if name)
    assert set(linear_names(config)) == linears - {"lm_head"}


def test_every_field_of_peft_is_in_a_table():
    from peft import LoraConfig

    names = {field.name for field in dataclasses.fields(LoraConfig)}
    assert names <= HANDLED | HARMLESS.keys() | ONLY.keys()


def test_peft_has_every_field_of_the_tables_but_those_it_dropped():
    from peft import LoraConfig

    names = {field.name for field in dataclasses.fields(LoraConfig)}
    dropped = {"enable_lora", "merge_weights"}
    assert (HANDLED | HARMLESS.keys() | ONLY.keys()) - names == dropped


def test_the_default_configuration_is_accepted(tmp_path):
    from peft import LoraConfig

    LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM").save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "adapter_config.json").read_text())
    assert check_fields(fields) == []
    assert parse_options(fields)[1] == []
