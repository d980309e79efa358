"""Reading an adapter's folder: configuration and weights, without a base.

>>> adapter = read_adapter(Path("adapters/support"))
>>> adapter.options.rank, adapter.weights.modules()[0]
(16, 'model.layers.0.mlp.down_proj')
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptefoundry.adapter.fields import CONFIG_FILE
from ptefoundry.adapter.options import LoraOptions, parse_options
from ptefoundry.adapter.problems import Problem, enumerate_names, refuse, show
from ptefoundry.adapter.weights import WEIGHTS_FILE, LoraWeights, read_weights


@dataclass(frozen=True, kw_only=True)
class PeftAdapter:
    """A readable LoRA adapter that has not been compared with a base yet."""

    folder: Path
    options: LoraOptions
    weights: LoraWeights


def read_adapter(folder: Path) -> PeftAdapter:
    """Read and validate an adapter's folder.

    Raises:
        AdapterError: with everything that is wrong with it.
    """
    options, weights, problems = examine_adapter(folder)
    refuse(folder, problems)
    assert options is not None
    assert weights is not None
    return PeftAdapter(folder=folder, options=options, weights=weights)


def examine_adapter(
    folder: Path,
) -> tuple[LoraOptions | None, LoraWeights | None, list[Problem]]:
    """Read what is readable of an adapter's folder and collect all problems."""
    if not folder.is_dir():
        supported = f"a folder with {CONFIG_FILE} and {WEIGHTS_FILE}"
        problem = Problem(file=".", field="folder", found="no such folder", supported=supported)
        return None, None, [problem]
    fields, problems = _read_fields(folder / CONFIG_FILE)
    options = None
    if fields is not None:
        options, field_problems = parse_options(fields)
        problems += field_problems
    weights, weight_problems = read_weights(folder)
    problems += weight_problems
    if options is not None and weights is not None and not weight_problems:
        problems += _check_ranks(options, weights)
    return options, weights, problems


def _read_fields(path: Path) -> tuple[dict[str, Any] | None, list[Problem]]:
    supported = "the JSON object that PEFT's save_pretrained writes"
    try:
        fields = json.loads(path.read_text("utf-8"), object_pairs_hook=_without_duplicates)
    except FileNotFoundError:
        found = "no such file; PEFT computes nothing without it"
    except OSError as error:
        found = f"{error.strerror}"
    except (ValueError, RecursionError) as error:
        found = f"not JSON in UTF-8 ({error})"
    else:
        if isinstance(fields, dict):
            return fields, []
        found = show(fields)
    return None, [Problem(file=CONFIG_FILE, field="file", found=found, supported=supported)]


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _value in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"written twice: {enumerate_names(twice)}")
    return fields


def _check_ranks(options: LoraOptions, weights: LoraWeights) -> list[Problem]:
    """The configuration's ranks must be those of the matrices: the scale depends on them."""
    wrong = [
        f"{matrix.name} {matrix.rank} instead of {options.rank_of(module)}"
        for (module, which), matrix in sorted(weights.matrices.items())
        if which == "a" and matrix.rank != options.rank_of(module)
    ]
    if not wrong:
        return []
    return [
        Problem(
            file=WEIGHTS_FILE,
            field="tensors",
            found=f"other ranks than {CONFIG_FILE} has: {enumerate_names(wrong)}",
            supported="the ranks of r and rank_pattern",
        )
    ]
