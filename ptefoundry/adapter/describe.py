"""Everything that can be told about an adapter, whether or not it is usable."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ptefoundry.adapter.fit import collect_warnings, find_misfits
from ptefoundry.adapter.options import LoraOptions
from ptefoundry.adapter.problems import Problem
from ptefoundry.adapter.read import examine_adapter
from ptefoundry.adapter.weights import LoraWeights
from ptefoundry.base.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class AdapterDescription:
    """What an adapter's folder has; lists are sorted and empty where nothing is readable."""

    base_model: str | None
    """What the adapter says it was trained on."""
    peft_version: str | None
    spelling: str | None
    """`peft` or `torchtune`, by the names of the tensors."""
    targets: tuple[str, ...]
    """transformers' names of the linears, such as q_proj."""
    layers: tuple[int, ...]
    ranks: tuple[int, ...]
    scales: tuple[float, ...]
    """Different factors of B@A."""
    dtypes: tuple[str, ...]
    parameters: int
    bytes: int
    """Of the weights file."""
    warnings: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def usable(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with `usable`."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in fields.items()
        }
        problems = [problem.to_dict() for problem in self.problems]
        return {**plain, "problems": problems, "usable": self.usable}


def describe_adapter(
    folder: Path, config: ModelConfig | None = None, *, base_name: str | None = None
) -> AdapterDescription:
    """Describe an adapter's folder with all its problems; raises nothing about them.

    Args:
        folder: as for `read_adapter`.
        config: of the base to compare it with; without one only the folder is checked.
        base_name: what the base is called.
    """
    options, weights, problems = examine_adapter(folder)
    warnings: tuple[str, ...] = ()
    if options is not None and weights is not None:
        warnings = collect_warnings(options, weights, base_name=base_name)
        if config is not None:
            problems += find_misfits(options, weights, config)
    return AdapterDescription(
        **_describe_options(options),
        **_describe_weights(weights),
        scales=_scales(options, weights),
        warnings=warnings,
        problems=tuple(problems),
    )


def _describe_options(options: LoraOptions | None) -> dict[str, Any]:
    return {
        "base_model": options.base_model if options else None,
        "peft_version": options.peft_version if options else None,
    }


def _describe_weights(weights: LoraWeights | None) -> dict[str, Any]:
    matrices = list(weights.matrices.values()) if weights else []
    modules = [matrix.module.split(".") for matrix in matrices]
    return {
        "spelling": weights.spelling if weights else None,
        "targets": _distinct(parts[-1] for parts in modules),
        "layers": _distinct(int(parts[2]) for parts in modules),
        "ranks": _distinct(matrix.rank for matrix in matrices if len(matrix.shape) == 2),
        "dtypes": _distinct(matrix.dtype for matrix in matrices),
        "parameters": sum(prod(matrix.shape) for matrix in matrices),
        "bytes": weights.size if weights else 0,
    }


def _scales(options: LoraOptions | None, weights: LoraWeights | None) -> tuple[float, ...]:
    if options is None or weights is None:
        return ()
    return _distinct(options.scale_of(name) for name in weights.modules())


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(set(values)))
