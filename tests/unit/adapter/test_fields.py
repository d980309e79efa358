import pytest

from ptefoundry.adapter.fields import HANDLED, HARMLESS, ONLY, REQUIRED, check_fields
from support.tiny_adapters import FIELDS


def test_each_field_is_in_one_table():
    tables = [HANDLED, set(HARMLESS), set(ONLY)]
    names = [name for table in tables for name in table]
    assert len(names) == len(set(names))
    assert set(REQUIRED) <= set(names)


def test_a_correct_configuration_has_no_problems():
    assert check_fields(FIELDS) == []


@pytest.mark.parametrize("name", REQUIRED)
def test_required_fields_are_missed_by_name(name):
    fields = {key: value for key, value in FIELDS.items() if key != name}
    (problem,) = check_fields(fields)
    assert (problem.file, problem.field) == ("adapter_config.json", name)
    assert problem.found == "no such field"


@pytest.mark.parametrize("name", sorted(HARMLESS))
@pytest.mark.parametrize("value", [None, 0, "text", {"a": [1]}, True])
def test_harmless_fields_may_have_any_value(name, value):
    assert check_fields({**FIELDS, name: value}) == []


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, rule in ONLY.items() for value in rule.values]
)
def test_supported_values_are_accepted(name, value):
    assert check_fields({**FIELDS, name: value}) == []


REFUSED = [
    ("peft_type", "LOHA"),
    ("peft_type", None),
    ("task_type", "SEQ_CLS"),
    ("task_type", "causal_lm"),
    ("bias", "all"),
    ("bias", "lora_only"),
    ("bias", None),
    ("modules_to_save", ["lm_head"]),
    ("trainable_token_indices", [1, 2]),
    ("trainable_token_indices", {"embed_tokens": [1]}),
    ("fan_in_fan_out", True),
    ("use_dora", True),
    ("lora_bias", True),
    ("use_qalora", True),
    ("use_bdlora", {"nblocks": 2}),
    ("alora_invocation_tokens", [1, 2]),
    ("arrow_config", {"top_k": 3}),
    ("monteclora_config", {"num_samples": 8}),
    ("velora_config", {"num_groups": 64}),
    ("kasa_config", {"beta": 1e-4}),
    ("megatron_config", {"num_layers": 2}),
    ("layer_replication", [[0, 2], [1, 2]]),
    ("target_parameters", ["mlp.experts.gate_up_proj"]),
    ("ensure_weight_tying", True),
    ("enable_lora", [True, False, True]),
    ("init_lora_weights", "pissa"),
    ("init_lora_weights", "pissa_niter_16"),
    ("init_lora_weights", "olora"),
    ("init_lora_weights", "corda"),
    ("init_lora_weights", "loftq"),
    ("init_lora_weights", "lora_ga"),
    ("init_lora_weights", "something new"),
    ("init_lora_weights", 1),
    ("use_dora", 1),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_other_values_are_refused_with_what_is_supported(name, value):
    (problem,) = check_fields({**FIELDS, name: value})
    assert (problem.file, problem.field) == ("adapter_config.json", name)
    assert problem.supported == str(ONLY[name])
    assert len(problem.found) > 0


def test_every_restricted_field_has_a_test_of_refusal():
    assert {name for name, _value in REFUSED} == set(ONLY)


@pytest.mark.parametrize("value", [None, False, True, {"x": 1}])
def test_unknown_fields_are_refused_whatever_their_value(value):
    (problem,) = check_fields({**FIELDS, "use_tomorrows_lora": value})
    assert problem.field == "use_tomorrows_lora"
    assert "unknown field" in problem.found
    assert "0.21.2" in problem.supported
