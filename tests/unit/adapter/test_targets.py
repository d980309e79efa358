from dataclasses import replace

import pytest

from ptefoundry.adapter.options import parse_options
from ptefoundry.adapter.targets import linear_names, module_names, targeted_modules
from support.tiny_adapters import FIELDS, TINY

Q0, Q1 = (f"model.layers.{layer}.self_attn.q_proj" for layer in (0, 1))
V0, V1 = (f"model.layers.{layer}.self_attn.v_proj" for layer in (0, 1))

UNSLOTH = (
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?"
    r"(?:q_proj|v_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|"
    r"feed_forward|ffn|dense)\.(?:(?:q_proj|v_proj)))"
)


def targets_of(config=TINY, **changes):
    options, problems = parse_options({**FIELDS, **changes})
    assert problems == []
    return targeted_modules(options, config)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["q_proj"], {Q0, Q1}),
        (["self_attn.q_proj", "v_proj"], {Q0, Q1, V0, V1}),
        ([Q1], {Q1}),
        (["1.self_attn.q_proj"], {Q1}),
        (["proj"], set()),
        (["attn.q_proj"], set()),
        (["q_proj", "c_attn"], {Q0, Q1}),
        (r".*\.q_proj", {Q0, Q1}),
        (r".*q_proj", {Q0, Q1}),
        (r"q_proj", set()),
        (r"model\.layers\.0\..*[qv]_proj", {Q0, V0}),
        (UNSLOTH, {Q0, Q1, V0, V1}),
        (["lm_head"], {"lm_head"}),
        (["embed_tokens", "q_proj"], {"model.embed_tokens", Q0, Q1}),
        (["self_attn"], {"model.layers.0.self_attn", "model.layers.1.self_attn"}),
    ],
)
def test_targets(targets, expected):
    assert targets_of(target_modules=targets) == expected


def test_all_linear_leaves_out_the_output_head():
    assert targets_of(target_modules="all-linear") == set(linear_names(TINY))
    assert targets_of(target_modules="ALL-Linear") == set(linear_names(TINY))
    assert len(linear_names(TINY)) == 14


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"layers_to_transform": 1}, {Q1, V1}),
        ({"layers_to_transform": [0]}, {Q0, V0}),
        ({"layers_to_transform": [0, 1]}, {Q0, Q1, V0, V1}),
        ({"layers_to_transform": [5]}, set()),
        ({"layers_to_transform": []}, {Q0, Q1, V0, V1}),
        ({"layers_to_transform": [1], "layers_pattern": "layers"}, {Q1, V1}),
        ({"layers_to_transform": [1], "layers_pattern": ["h", "layers"]}, {Q1, V1}),
        ({"layers_to_transform": [1], "layers_pattern": "h"}, set()),
        ({"exclude_modules": ["v_proj"]}, {Q0, Q1}),
        ({"exclude_modules": [V0]}, {Q0, Q1, V1}),
        ({"exclude_modules": r".*layers\.1\..*"}, {Q0, V0}),
        ({"exclude_modules": "v_proj"}, {Q0, Q1, V0, V1}),
        ({"exclude_modules": []}, {Q0, Q1, V0, V1}),
        ({"exclude_modules": ["v_proj"], "layers_to_transform": 1}, {Q1}),
    ],
)
def test_limits_of_targets(changes, expected):
    assert targets_of(**changes) == expected


def test_exclusion_applies_to_all_linear():
    targets = targets_of(target_modules="all-linear", exclude_modules=["mlp.down_proj"])
    assert targets == {name for name in linear_names(TINY) if "down_proj" not in name}


def test_names_of_norms_depend_on_the_architecture():
    assert "model.layers.0.self_attn.q_norm" not in module_names(TINY)
    assert "model.layers.0.self_attn.q_norm" in module_names(replace(TINY, qk_norm=True))
