"""Comparing an adapter with a base: which of its linears it adapts, and how.

An adapter fits if PEFT would adapt with it exactly the modules that its weights
have matrices for, and if their shapes are those of the base. PEFT itself starts
missing matrices at random and leaves out those that it does not expect.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ptefoundry.adapter.fields import CONFIG_FILE
from ptefoundry.adapter.options import LoraOptions, first_match
from ptefoundry.adapter.problems import Problem, enumerate_names, refuse, show
from ptefoundry.adapter.read import PeftAdapter
from ptefoundry.adapter.spelling import has_half_order
from ptefoundry.adapter.targets import linear_names, targeted_modules
from ptefoundry.adapter.weights import WEIGHTS_FILE, LoraMatrix, LoraWeights
from ptefoundry.base.config import LINEARS, ModelConfig


@dataclass(frozen=True, kw_only=True)
class FittedModule:
    """One adapted linear of the base."""

    path: str
    """Canonical path, for instance `layers.0.attention.wq`."""
    lora_a: LoraMatrix
    """[rank, in]"""
    lora_b: LoraMatrix
    """[out, rank]"""
    rank: int
    scale: float
    """Factor of B@A."""
    half_heads: int | None
    """Number of heads whose rows lora_b has in half order; None if the order is right."""


@dataclass(frozen=True, kw_only=True)
class FittedAdapter:
    """An adapter and where it goes in one base."""

    adapter: PeftAdapter
    modules: tuple[FittedModule, ...]
    warnings: tuple[str, ...]


def fit_adapter(
    adapter: PeftAdapter, config: ModelConfig, *, base_name: str | None = None
) -> FittedAdapter:
    """Match an adapter's matrices with a base's linears.

    Args:
        adapter: what `read_adapter` returned.
        config: of the base.
        base_name: what the base is called, to compare with what the adapter was trained on.

    Raises:
        AdapterError: with everything that does not fit.
    """
    refuse(adapter.folder, list(find_misfits(adapter.options, adapter.weights, config)))
    modules = tuple(_fit_module(adapter, config, name) for name in adapter.weights.modules())
    warnings = collect_warnings(adapter.options, adapter.weights, base_name=base_name)
    return FittedAdapter(adapter=adapter, modules=modules, warnings=warnings)


def find_misfits(
    options: LoraOptions, weights: LoraWeights, config: ModelConfig
) -> Iterator[Problem]:
    """Everything that keeps an adapter from fitting a base."""
    targeted, linears = targeted_modules(options, config), linear_names(config)
    if others := sorted(targeted - set(linears)):
        found = f"{show(options.target_modules)}, which matches {enumerate_names(others)}"
        supported = f"linears of decoder layers: {', '.join(LINEARS)}"
        yield Problem(file=CONFIG_FILE, field="target_modules", found=found, supported=supported)
    expected = [name for name in linears if name in targeted]
    present = weights.modules()
    if not expected:
        found = f"{show(options.target_modules)}, which matches none of the base's linears"
        yield Problem(
            file=CONFIG_FILE, field="target_modules", found=found, supported=", ".join(LINEARS)
        )
    elif missing := [name for name in expected if name not in present]:
        yield _misfit(f"no matrices of {enumerate_names(missing)}", "all that target_modules names")
    if foreign := [name for name in present if name not in linears]:
        supported = f"layers 0 to {config.n_layers - 1}; the adapter is of another base"
        yield _misfit(f"modules that the base lacks: {enumerate_names(foreign)}", supported)
    if extra := [name for name in present if name in linears and name not in targeted]:
        found = f"matrices that PEFT would leave out: {enumerate_names(extra)}"
        yield _misfit(found, "exactly the modules that target_modules and its limits name")
    yield from _check_shapes(weights, config, linears)


def collect_warnings(
    options: LoraOptions, weights: LoraWeights, *, base_name: str | None = None
) -> tuple[str, ...]:
    """What is allowed but perhaps not meant."""
    modules = weights.modules()
    warnings = []
    if base_name is not None and options.base_model not in (None, "", base_name):
        warnings.append(
            f"{CONFIG_FILE}: base_model_name_or_path: trained on {options.base_model!r}, "
            f"used with {base_name!r}"
        )
    warnings += _check_patterns("rank_pattern", options.rank_pattern, modules)
    warnings += _check_patterns("alpha_pattern", options.alpha_pattern, modules)
    zeros = [one.name for one in weights.matrices.values() if one.is_zero and one.matrix == "b"]
    if zeros:
        warnings.append(f"{WEIGHTS_FILE}: changes nothing: {enumerate_names(zeros)}: all zeros")
    if idle := [name for name in modules if options.scale_of(name) == 0]:
        warnings.append(f"{CONFIG_FILE}: lora_alpha: is 0 for {enumerate_names(idle)}")
    return tuple(warnings)


def _check_patterns(field: str, patterns: Mapping[str, float], modules: list[str]) -> Iterator[str]:
    """Patterns that match nothing, and modules for which their order decides.

    PEFT sorts the patterns when it saves an adapter, so the first one may be
    another than in training.
    """
    matching = {name: [key for key in patterns if first_match([key], name)] for name in modules}
    if unused := [key for key in patterns if not any(key in keys for keys in matching.values())]:
        yield f"{CONFIG_FILE}: {field}: matches no module: {enumerate_names(unused)}"
    several = [
        f"{name} by {enumerate_names(keys)}"
        for name, keys in matching.items()
        if len({patterns[key] for key in keys}) > 1
    ]
    if several:
        yield f"{CONFIG_FILE}: {field}: the first pattern counts for {enumerate_names(several)}"


def canonical_path(module: str) -> str:
    """`model.layers.3.self_attn.q_proj` -> `layers.3.attention.wq`."""
    _model, layers, number, linear = module.split(".", 3)
    return f"{layers}.{number}.{LINEARS[linear]}"


def _fit_module(adapter: PeftAdapter, config: ModelConfig, name: str) -> FittedModule:
    weights, path = adapter.weights, canonical_path(name)
    is_half = has_half_order(weights.spelling, config.architecture)
    return FittedModule(
        path=path,
        lora_a=weights.matrices[name, "a"],
        lora_b=weights.matrices[name, "b"],
        rank=adapter.options.rank_of(name),
        scale=adapter.options.scale_of(name),
        half_heads=config.rotary_heads(path.split(".", 2)[2]) if is_half else None,
    )


def _check_shapes(
    weights: LoraWeights, config: ModelConfig, linears: list[str]
) -> Iterator[Problem]:
    wrong = []
    for (module, which), matrix in sorted(weights.matrices.items()):
        if module not in linears or len(matrix.shape) != 2:
            continue
        out_features, in_features = config.linear_shape(LINEARS[module.split(".", 3)[3]])
        expected = in_features if which == "a" else out_features
        if matrix.shape[1 if which == "a" else 0] != expected:
            shape = [matrix.rank, expected] if which == "a" else [expected, matrix.rank]
            wrong.append(f"{matrix.name} {list(matrix.shape)} instead of {shape}")
    if wrong:
        supported = "the shapes of the base's linears; the adapter is of another base"
        yield _misfit(f"other shapes: {enumerate_names(wrong)}", supported)


def _misfit(found: str, supported: str) -> Problem:
    return Problem(file=WEIGHTS_FILE, field="tensors", found=found, supported=supported)
