"""Every field of PEFT's LoraConfig and what becomes of it here.

The fields are those of peft 0.21.2 and of all releases before it. PEFT itself
drops fields that it does not know with a warning; here each one is in exactly one
of three tables or the adapter is refused, so that no option that changes the
arithmetic is ever overlooked:

- `HANDLED`: read by `options.py`,
- `HARMLESS`: does not change what a loaded adapter computes, whatever its value,
- `ONLY`: changes it, except with the values listed.
"""

from dataclasses import dataclass
from typing import Any

from ptefoundry.adapter.problems import Problem, show

CONFIG_FILE = "adapter_config.json"

REQUIRED = ("peft_type", "r", "lora_alpha", "target_modules")

HANDLED = frozenset(
    {
        "r",
        "lora_alpha",
        "use_rslora",
        "target_modules",
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
        "rank_pattern",
        "alpha_pattern",
        "base_model_name_or_path",
        "peft_version",
    }
)

HARMLESS = {
    "auto_mapping": "class of the base, when task_type does not tell it",
    "revision": "of the base's repository",
    "inference_mode": "whether the adapter can be trained further",
    "lora_dropout": "acts in training only",
    "megatron_core": "name of a package that only megatron_config uses",
    "loftq_config": "read only with init_lora_weights 'loftq'",
    "eva_config": "read only when EVA's initial weights are computed",
    "corda_config": "read only with init_lora_weights 'corda'",
    "lora_ga_config": "read only with init_lora_weights 'lora_ga'",
    "qalora_group_size": "read only with use_qalora",
    "runtime_config": "how weights move between devices; PEFT ignores it in files",
    "merge_weights": "peft before 0.3: when to add the adapter to the base, not whether",
}


@dataclass(frozen=True)
class Only:
    """A field of which only some values are supported."""

    values: tuple[object, ...]
    instead: str
    """What other values would ask for, or what to do."""

    def allows(self, value: object) -> bool:
        """Whether `value` is one of the values; 0 is not False."""
        return any(type(value) is type(one) and value == one for one in self.values)

    def __str__(self) -> str:
        return f"{' or '.join(show(value) for value in self.values)} ({self.instead})"


_UNSET: tuple[object, ...] = (None, [])
_OFF: tuple[object, ...] = (False, None)

ONLY = {
    "peft_type": Only(("LORA",), "other methods are not LoRA"),
    "task_type": Only(("CAUSAL_LM", None), "bases are causal language models"),
    "bias": Only(("none",), "biases trained beside the adapter would change the base"),
    "modules_to_save": Only(_UNSET, "whole modules trained beside the adapter"),
    "trainable_token_indices": Only((None,), "rows of the embedding trained beside the adapter"),
    "fan_in_fan_out": Only(_OFF, "the base's linears store [out, in]"),
    "use_dora": Only(_OFF, "DoRA is not a plain sum of matrices; train without it"),
    "lora_bias": Only(_OFF, "a bias on lora_B"),
    "use_qalora": Only(_OFF, "QALoRA pools the input of quantized bases"),
    "use_bdlora": Only(_OFF, "block-diagonal BD-LoRA"),
    "alora_invocation_tokens": Only((None,), "activated LoRA (aLoRA) starts in mid-prompt"),
    "arrow_config": Only((None,), "Arrow routes between several adapters"),
    "monteclora_config": Only((None,), "MonteCLoRA samples its weights"),
    "velora_config": Only((None,), "VeLoRA"),
    "kasa_config": Only((None,), "KaSA truncates the base's weights"),
    "megatron_config": Only((None,), "Megatron's parallel linears"),
    "layer_replication": Only(_UNSET, "a base with repeated layers"),
    "target_parameters": Only(_UNSET, "LoRA on parameters that are not linears"),
    "ensure_weight_tying": Only(_OFF, "tied adapters of the embedding and the output head"),
    "enable_lora": Only((None,), "peft before 0.3: LoRA on parts of a fused linear"),
    # The others (pissa, pissa_niter_N, olora, corda, lora_ga, loftq) begin by taking B@A out of
    # the base's weights or quantizing them; PEFT does it again whenever it loads the adapter.
    "init_lora_weights": Only(
        (True, False, None, "gaussian", "orthogonal", "eva", "mica"),
        "the other initialisations change the base's weights; convert the adapter with PEFT's "
        "save_pretrained(path_initial_model_for_weight_conversion=...), LoftQ has no conversion",
    ),
}


def check_fields(fields: dict[str, Any]) -> list[Problem]:
    """Problems with the fields that are missing, unknown or have values not supported."""
    problems = [_missing(name) for name in REQUIRED if name not in fields]
    for name, value in fields.items():
        problems += check_field(name, value)
    return problems


def check_field(name: str, value: object) -> list[Problem]:
    """One problem if the field is unknown or its value is not supported, else none."""
    if name in ONLY:
        rule = ONLY[name]
        return [] if rule.allows(value) else [_problem(name, show(value), str(rule))]
    if name in HANDLED or name in HARMLESS:
        return []
    found = f"an unknown field with the value {show(value)}"
    return [_problem(name, found, "fields of peft up to 0.21.2")]


def _missing(name: str) -> Problem:
    supported = str(ONLY[name]) if name in ONLY else "the value that the adapter was trained with"
    return _problem(name, "no such field", supported)


def _problem(name: str, found: str, supported: str) -> Problem:
    return Problem(file=CONFIG_FILE, field=name, found=found, supported=supported)
