"""Names of the stages in a dvc.yaml that DVC has not seen yet."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from ruamel.yaml import YAML


def stage_descriptions(graph: str) -> dict[str, str]:
    """Stage -> description, in the order of the text, as DVC will name them."""
    stages = YAML(typ="safe").load(graph)["stages"]
    return {
        name: template.get("desc", "")
        for group, stage in stages.items()
        for name, template in _expand(group, stage)
    }


def _expand(group: str, stage: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if "foreach" in stage:
        for key in stage["foreach"]:
            yield f"{group}@{key}", stage["do"]
    elif "matrix" in stage:
        for values in product(*stage["matrix"].values()):
            yield f"{group}@{'-'.join(map(str, values))}", stage
    else:
        yield group, stage
