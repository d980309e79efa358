import math

import pytest

from ptefoundry.adapter.options import parse_options
from support.tiny_adapters import FIELDS

Q0 = "model.layers.0.self_attn.q_proj"
Q1 = "model.layers.1.self_attn.q_proj"
DOWN1 = "model.layers.1.mlp.down_proj"


def options_of(**changes):
    options, problems = parse_options({**FIELDS, **changes})
    assert problems == []
    return options


def problem_of(**changes):
    _options, (problem,) = parse_options({**FIELDS, **changes})
    assert problem.file == "adapter_config.json"
    return problem


def test_scale_is_alpha_over_rank():
    assert options_of(r=8, lora_alpha=20).scale_of(Q0) == 20 / 8


def test_alpha_may_be_any_finite_number():
    assert options_of(r=8, lora_alpha=0.3).scale_of(Q0) == 0.3 / 8
    assert options_of(r=8, lora_alpha=-8).scale_of(Q0) == -1.0
    assert options_of(r=8, lora_alpha=0).scale_of(Q0) == 0


def test_rslora_divides_by_the_root_of_the_rank():
    assert options_of(r=9, lora_alpha=6, use_rslora=True).scale_of(Q0) == 2.0


def test_rank_pattern_changes_rank_and_scale():
    options = options_of(r=4, lora_alpha=8, rank_pattern={"layers.1.self_attn.q_proj": 16})
    assert (options.rank_of(Q0), options.rank_of(Q1)) == (4, 16)
    assert (options.scale_of(Q0), options.scale_of(Q1)) == (2.0, 0.5)


def test_patterns_of_rank_and_alpha_meet_in_the_scale():
    options = options_of(
        r=4,
        lora_alpha=8,
        use_rslora=True,
        rank_pattern={"q_proj": 16},
        alpha_pattern={".*layers.1.*": 2.5},
    )
    assert options.scale_of(Q1) == 2.5 / math.sqrt(16)
    assert options.scale_of(Q0) == 8 / math.sqrt(16)
    assert options.scale_of(DOWN1) == 2.5 / math.sqrt(4)


@pytest.mark.parametrize(
    ("key", "matches"),
    [
        ("q_proj", True),
        ("self_attn.q_proj", True),
        (Q0, True),
        ("proj", False),
        ("q_pro", False),
        ("elf_attn.q_proj", False),
        ("[qk]_proj", True),
        ("q_proj|k_proj", True),
        ("layers.0.*", True),
        ("^model.layers.0.self_attn.q_proj", True),
        ("layers.1.self_attn.q_proj", False),
    ],
)
def test_pattern_keys_match_last_parts_as_in_peft(key, matches):
    options = options_of(r=2, rank_pattern={key: 32})
    assert options.rank_of(Q0) == (32 if matches else 2)


def test_the_first_pattern_that_matches_counts():
    patterns = {"self_attn.q_proj": 3, "q_proj": 5}
    assert options_of(rank_pattern=patterns).rank_of(Q0) == 3
    assert options_of(rank_pattern=dict(reversed(patterns.items()))).rank_of(Q0) == 5


def test_null_is_the_default_of_optional_fields():
    names = ("rank_pattern", "alpha_pattern", "exclude_modules", "layers_to_transform")
    others = ("layers_pattern", "base_model_name_or_path", "peft_version")
    options = options_of(**dict.fromkeys([*names, *others]))
    assert options.rank_pattern == {}
    assert options.layers_to_transform is None
    assert options.base_model is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("r", 0),
        ("r", -4),
        ("r", 4.0),
        ("r", "8"),
        ("r", True),
        ("r", None),
        ("r", 10**400),
        ("lora_alpha", "16"),
        ("lora_alpha", None),
        ("lora_alpha", True),
        ("lora_alpha", math.nan),
        ("lora_alpha", math.inf),
        ("lora_alpha", 10**400),
        ("use_rslora", 1),
        ("use_rslora", "true"),
        ("use_rslora", None),
        ("target_modules", None),
        ("target_modules", []),
        ("target_modules", ""),
        ("target_modules", ["q_proj", 1]),
        ("target_modules", ["q_proj", ""]),
        ("target_modules", {"q_proj": True}),
        ("target_modules", "(q_proj"),
        ("target_modules", "x{99999999999999999999}"),
        ("exclude_modules", ["q_proj", None]),
        ("exclude_modules", 7),
        ("exclude_modules", "[a"),
        ("layers_to_transform", "0"),
        ("layers_to_transform", [0, "1"]),
        ("layers_to_transform", [True]),
        ("layers_to_transform", 1.0),
        ("rank_pattern", []),
        ("rank_pattern", [["q_proj", 4]]),
        ("alpha_pattern", "q_proj"),
        ("base_model_name_or_path", 5),
        ("base_model_name_or_path", "\x1b[2J"),
        ("base_model_name_or_path", "\ud800"),
        ("peft_version", ["0.21.2"]),
    ],
)
def test_malformed_fields_are_refused_by_name(name, value):
    problem = problem_of(**{name: value})
    assert problem.field == name
    assert problem.supported


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank_pattern", {"q_proj": 0}),
        ("rank_pattern", {"q_proj": 2.5}),
        ("alpha_pattern", {"q_proj": "8"}),
        ("alpha_pattern", {"q_proj": math.nan}),
        ("alpha_pattern", {"q_(proj": 8}),
    ],
)
def test_malformed_patterns_are_refused_with_their_key(name, value):
    assert problem_of(**{name: value}).field == f'{name}["{next(iter(value))}"]'


def test_layers_pattern_is_validated():
    good = options_of(layers_to_transform=[0], layers_pattern="layers")
    assert good.layers_pattern == ("layers",)
    assert problem_of(layers_to_transform=[0], layers_pattern="(").field == "layers_pattern"
    assert problem_of(layers_to_transform=[0], layers_pattern=[3]).field == "layers_pattern"
    assert problem_of(layers_pattern="layers").field == "layers_to_transform"


def test_layers_go_with_lists_only():
    expected = "a list beside layers_to_transform or layers_pattern"
    assert problem_of(target_modules=".*q_proj", layers_to_transform=0).supported == expected
    assert problem_of(target_modules="all-linear", layers_to_transform=[0]).supported == expected


def test_full_names_do_not_go_with_layers():
    problem = problem_of(target_modules=[Q0, "v_proj"], layers_to_transform=[0])
    assert problem.field == "target_modules"
    assert Q0 in problem.found


def test_one_layer_and_a_list_of_it_are_the_same():
    assert options_of(layers_to_transform=1) == options_of(layers_to_transform=[1])
    assert options_of(layers_to_transform=[]) == options_of()


def test_all_problems_are_found_at_once():
    fields = {"peft_type": "LORA", "r": 0, "lora_alpha": "x", "use_dora": True, "new": 1}
    options, problems = parse_options(fields)
    assert options is None
    expected = ["target_modules", "use_dora", "new", "r", "lora_alpha"]
    assert [problem.field for problem in problems] == expected


def test_fields_of_another_method_are_not_told_apart():
    fields = {"peft_type": "LOHA", "alpha": 8, "rank_dropout": 0.0, "module_dropout": 0.0}
    options, (problem,) = parse_options(fields)
    assert options is None
    assert (problem.field, problem.found) == ("peft_type", '"LOHA"')
