"""Which modules of a base an adapter's options ask for, by PEFT's rules.

Follows peft 0.21.2: `check_target_module_exists`, `match_target_against_key` and
`_maybe_include_all_linear_layers`, over the names of transformers' modules.
"""

import re

from ptefoundry.adapter.options import ALL_LINEAR, LoraOptions, layer_number
from ptefoundry.base.config import LINEARS, ModelConfig

#: The number of the first numbered module, when `layers_pattern` does not say which.
_ANY_LAYER = r".*?\.[^.]*\.(?P<idx>\d+)\."


def linear_names(config: ModelConfig) -> list[str]:
    """Names in transformers of the linears that an adapter can have, in order."""
    return [f"model.layers.{layer}.{name}" for layer in range(config.n_layers) for name in LINEARS]


def module_names(config: ModelConfig) -> list[str]:
    """Names in transformers of all modules of a base; all can be matched by mistake."""
    norms = ["self_attn.q_norm", "self_attn.k_norm"] if config.qk_norm else []
    parts = ["self_attn", "mlp", "mlp.act_fn", "input_layernorm", "post_attention_layernorm"]
    inner = [*LINEARS, *norms, *parts]
    layers = [f"model.layers.{layer}" for layer in range(config.n_layers)]
    outer = ["model", "model.embed_tokens", "model.layers", "model.norm", "model.rotary_emb"]
    return [*outer, "lm_head", *layers, *(f"{layer}.{name}" for layer in layers for name in inner)]


def targeted_modules(options: LoraOptions, config: ModelConfig) -> set[str]:
    """Names of the modules of a base that PEFT would adapt; not all need be linears."""
    names = module_names(config)
    targets = options.target_modules
    if isinstance(targets, str) and targets.lower() == ALL_LINEAR:
        names, targets = linear_names(config), tuple(linear_names(config))
    return {
        name
        for name in names
        if not _matches(options.exclude_modules, name) and _is_targeted(targets, options, name)
    }


def _is_targeted(targets: tuple[str, ...] | str, options: LoraOptions, name: str) -> bool:
    if not _matches(targets, name):
        return False
    if options.layers_to_transform is None:
        return True
    return _layer_of(name, options.layers_pattern) in options.layers_to_transform


def _matches(targets: tuple[str, ...] | str, name: str) -> bool:
    """A text is a regular expression for the whole name, a list holds last parts of names."""
    if isinstance(targets, str):
        return bool(targets) and re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _layer_of(name: str, patterns: tuple[str, ...]) -> int | None:
    for pattern in [layer_number(pattern) for pattern in patterns] or [_ANY_LAYER]:
        if match := re.match(pattern, name):
            return int(match["idx"])
    return None
